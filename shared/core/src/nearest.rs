//! "Did you mean": the known word that a misspelt one was probably meant to be.

/// Longer words are never compared, which bounds the work per candidate.
const LONGEST: usize = 64;

/// The candidate nearest to `word`, ignoring case, if one is near enough to be meant; the first of
/// equally near ones.
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word: Vec<char> = word.to_lowercase().chars().collect();
    if word.len() > LONGEST {
        return None;
    }
    let allowed = word.len() / 3;
    candidates
        .into_iter()
        .filter_map(|candidate| {
            let letters: Vec<char> = candidate.to_lowercase().chars().collect();
            (letters.len().abs_diff(word.len()) <= allowed && letters.len() <= LONGEST)
                .then(|| (distance(&word, &letters), candidate))
        })
        .filter(|(distance, _)| *distance <= allowed)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// `did you mean X?`, or the list of what is known when nothing is near.
pub fn did_you_mean<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str> + Clone) -> String {
    if let Some(meant) = nearest(word, candidates.clone()) {
        return format!("did you mean `{meant}`?");
    }
    let known: Vec<String> = candidates.into_iter().map(|name| format!("`{name}`")).collect();
    if known.is_empty() { "none is declared".to_owned() } else { format!("known are {}", known.join(", ")) }
}

/// Insertions, deletions, replacements and swaps of neighbours that turn one word into the other.
fn distance(left: &[char], right: &[char]) -> usize {
    let mut before: Vec<usize> = Vec::new();
    let mut above: Vec<usize> = (0..=right.len()).collect();
    for (row, a) in left.iter().enumerate() {
        let mut current = vec![row + 1];
        for (column, b) in right.iter().enumerate() {
            let replaced = above[column] + usize::from(a != b);
            let mut best = replaced.min(above[column + 1] + 1).min(current[column] + 1);
            if row > 0 && column > 0 && *a == right[column - 1] && left[row - 1] == *b {
                best = best.min(before[column - 1] + 1);
            }
            current.push(best);
        }
        before = std::mem::replace(&mut above, current);
    }
    above[right.len()]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_slip_of_the_finger_finds_its_word() {
        let known = ["storage", "sources", "schema", "configuration"];
        assert_eq!(nearest("stroage", known), Some("storage"));
        assert_eq!(nearest("Source", known), Some("sources"));
        assert_eq!(nearest("configuratoin", known), Some("configuration"));
        assert_eq!(nearest("clusters", known), None);
        assert_eq!(nearest("", known), None);
    }

    #[test]
    fn what_is_near_to_nothing_gets_the_whole_list() {
        assert_eq!(did_you_mean("zzz", ["a", "b"]), "known are `a`, `b`");
        assert_eq!(did_you_mean("zzz", []), "none is declared");
        assert_eq!(did_you_mean("flihgts", ["flights"]), "did you mean `flights`?");
    }

    proptest! {
        #[test]
        fn a_word_is_nearest_to_itself(word in "[a-z_]{1,40}", other in "[a-z_]{1,40}") {
            prop_assert_eq!(nearest(&word, [other.as_str(), word.as_str()]).map(str::to_owned), Some(word));
        }
    }
}
