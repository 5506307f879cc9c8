//! Sources before their readers: a stable topological order, or every cycle.

use std::collections::VecDeque;

/// An order of `0..depends.len()` in which each node comes after all that it depends on, and
/// otherwise as written.
///
/// # Errors
/// Shortest cycles, at least one for each group of nodes that reach each other, as paths `a, b, …` in
/// which each node depends on the next and the last on the first.
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
    if order.len() == depends.len() { Ok(order) } else { Err(cycles(depends, &done)) }
}

/// The shortest cycle through each blocked node that no cycle before it went through.
fn cycles(depends: &[Vec<usize>], done: &[bool]) -> Vec<Vec<usize>> {
    let mut covered = done.to_vec();
    let mut cycles = Vec::new();
    for start in 0..depends.len() {
        if !covered[start]
            && let Some(cycle) = shortest_cycle(depends, start)
        {
            cycle.iter().for_each(|node| covered[*node] = true);
            cycles.push(cycle);
        }
    }
    cycles
}

/// Breadth first from `start` until it is reached again.
fn shortest_cycle(depends: &[Vec<usize>], start: usize) -> Option<Vec<usize>> {
    let mut reader: Vec<Option<usize>> = vec![None; depends.len()];
    let mut waiting = VecDeque::from([start]);
    while let Some(node) = waiting.pop_front() {
        for &source in &depends[node] {
            if source == start {
                return Some(path(&reader, start, node));
            }
            if reader[source].is_none() {
                reader[source] = Some(node);
                waiting.push_back(source);
            }
        }
    }
    None
}

/// The way from `start` to `end`, by who reads whom.
fn path(reader: &[Option<usize>], start: usize, end: usize) -> Vec<usize> {
    let mut path = vec![end];
    let mut node = end;
    while node != start
        && let Some(before) = reader[node]
    {
        path.push(before);
        node = before;
    }
    path.reverse();
    path
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
        assert_eq!(order(&[vec![2, 1], vec![0], vec![2]]), Err(vec![vec![0, 1], vec![2]]));
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
