//! Sources before their readers: a stable topological order, or every cycle.

/// An order of `0..depends.len()` in which each node comes after all that it depends on, and
/// otherwise as written.
///
/// # Errors
/// One cycle for each group of nodes that reach each other, as a path `a, b, …` in which each node
/// depends on the next and the last on the first.
pub(super) fn order(depends: &[Vec<usize>]) -> Result<Vec<usize>, Vec<Vec<usize>>> {
    let mut done = vec![false; depends.len()];
    let mut order = Vec::with_capacity(depends.len());
    loop {
        let before = order.len();
        for node in 0..depends.len() {
            if !done[node] && depends[node].iter().all(|source| done[*source]) {
                done[node] = true;
                order.push(node);
            }
        }
        if order.len() == before {
            break;
        }
    }
    if order.len() == depends.len() { Ok(order) } else { Err(cycles(depends, done)) }
}

/// Walks from each blocked node along blocked dependencies until a node repeats.
fn cycles(depends: &[Vec<usize>], mut seen: Vec<bool>) -> Vec<Vec<usize>> {
    let blocked: Vec<bool> = seen.iter().map(|done| !done).collect();
    let mut cycles = Vec::new();
    for start in 0..depends.len() {
        let mut path: Vec<usize> = Vec::new();
        let mut node = start;
        while !seen[node] {
            seen[node] = true;
            path.push(node);
            let Some(next) = depends[node].iter().copied().find(|source| blocked[*source]) else { break };
            node = next;
        }
        if let Some(at) = path.iter().position(|visited| *visited == node && path.len() > 0) {
            cycles.push(rotated(&path[at..]));
        }
    }
    cycles
}

/// The same cycle, from its lowest node on.
fn rotated(cycle: &[usize]) -> Vec<usize> {
    let lowest = cycle.iter().enumerate().min_by_key(|(_, node)| **node).map_or(0, |(at, _)| at);
    cycle[lowest..].iter().chain(&cycle[..lowest]).copied().collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_independent_stays_as_written() {
        assert_eq!(order(&[vec![], vec![], vec![]]), Ok(vec![0, 1, 2]));
        assert_eq!(order(&[vec![2], vec![], vec![1]]), Ok(vec![1, 2, 0]));
    }

    #[test]
    fn each_cycle_is_found_once_with_its_path() {
        assert_eq!(order(&[vec![0]]), Err(vec![vec![0]]));
        assert_eq!(order(&[vec![1], vec![2], vec![0], vec![0]]), Err(vec![vec![0, 1, 2]]));
        assert_eq!(order(&[vec![1], vec![0], vec![3], vec![2]]), Err(vec![vec![0, 1], vec![2, 3]]));
        assert_eq!(order(&[vec![1], vec![2], vec![1]]), Err(vec![vec![1, 2]]));
    }

    /// A DAG: in a hidden order, each node depends on earlier ones only.
    fn dag() -> impl Strategy<Value = Vec<Vec<usize>>> {
        (1..30_usize).prop_flat_map(|size| {
            let hidden = Just((0..size).collect::<Vec<_>>()).prop_shuffle();
            let edges = prop::collection::vec(prop::collection::vec(any::<prop::sample::Index>(), 0..4), size);
            (hidden, edges).prop_map(move |(hidden, edges)| {
                let mut depends = vec![Vec::new(); size];
                for (place, sources) in edges.into_iter().enumerate().skip(1) {
                    depends[hidden[place]] = sources.into_iter().map(|source| hidden[source.index(place)]).collect();
                }
                depends
            })
        })
    }

    proptest! {
        #[test]
        fn each_node_comes_after_its_sources(depends in dag()) {
            let order = order(&depends).unwrap();
            prop_assert_eq!(order.len(), depends.len());
            let place = |node: usize| order.iter().position(|other| *other == node).unwrap();
            for (node, sources) in depends.iter().enumerate() {
                prop_assert!(sources.iter().all(|source| place(*source) < place(node)));
            }
        }

        #[test]
        fn a_cycle_is_always_found_and_is_one(
            depends in dag(), nodes in prop::collection::vec(any::<prop::sample::Index>(), 1..5)
        ) {
            let mut depends = depends;
            let nodes: Vec<usize> = nodes.iter().map(|node| node.index(depends.len())).collect();
            for (at, node) in nodes.iter().enumerate() {
                depends[*node].push(nodes[(at + 1) % nodes.len()]);
            }
            let cycles = order(&depends).unwrap_err();
            prop_assert!(!cycles.is_empty());
            for cycle in cycles {
                for (at, node) in cycle.iter().enumerate() {
                    prop_assert!(depends[*node].contains(&cycle[(at + 1) % cycle.len()]));
                }
            }
        }
    }
}
