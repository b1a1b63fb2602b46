//! A persistent map: a clone shares everything, a write copies one path.
//!
//! Every lookup of the packet path ends here. Keys are either well-mixed hashes (`u64`; the caller verifies the value) or
//! ordered numbers (`u128`; ranges can be visited). Branches have 16 children and leaves up to [`LEAF_ENTRIES_MAX`]
//! entries, so the depth follows the size: a million hashes lie four branches deep with about 15 entries to a leaf. A
//! point read misses the cache about twice, once for the leaf and once for the value; a write copies four branches and a
//! leaf, together about 2 KiB.
//!
//! Invariants: entries of a leaf are sorted by key; several values may share a key and are told apart by the caller's
//! `same`; a node that only one map can reach is changed in place, so a batch of writes copies each node once.

use std::sync::Arc;

/// Entries of a leaf before it becomes a branch.
const LEAF_ENTRIES_MAX: usize = 64;
/// Entries below a branch at which it becomes a leaf again; far below the maximum, so that it does not flap.
const LEAF_ENTRIES_MERGE: usize = 16;
/// Children of a branch: four bits of the key.
const FANOUT: usize = 16;

/// A number whose bits, from the top, lead to its leaf.
pub(crate) trait Key: Copy + Ord {
    /// Branches on the longest path.
    const DEPTH_MAX: u32;
    /// Four bits of the key, counted from the top; 0 to 15.
    fn nibble(self, depth: u32) -> usize;
    /// About where a leaf of `len` entries has the key.
    fn guess_in(self, depth: u32, len: usize) -> usize;
    /// Position of the first of a leaf's entries that is not below the key.
    fn position_in<V>(self, depth: u32, entries: &[(Self, V)]) -> usize {
        let _ = depth;
        entries.partition_point(|(found, _)| *found < self)
    }
}

impl Key for u64 {
    const DEPTH_MAX: u32 = Self::BITS / 4;
    fn nibble(self, depth: u32) -> usize {
        (self >> (Self::BITS - 4).saturating_sub(4 * depth)) as usize & (FANOUT - 1)
    }

    fn guess_in(self, depth: u32, len: usize) -> usize {
        let rest = self.checked_shl(4 * depth).unwrap_or(0) >> 32;
        ((rest * len as u64) >> 32) as usize
    }

    /// Hashes lie evenly: the bits below those that led here tell the place to within an entry or two, which mostly is one
    /// cache line, where halving touches three or four.
    fn position_in<V>(self, depth: u32, entries: &[(Self, V)]) -> usize {
        let mut at = self.guess_in(depth, entries.len());
        let below = |at: usize| entries.get(at).is_some_and(|(found, _)| *found < self);
        while below(at) {
            at += 1;
        }
        while at > 0 && !below(at - 1) {
            at -= 1;
        }
        at
    }
}

impl Key for u128 {
    const DEPTH_MAX: u32 = Self::BITS / 4;
    fn nibble(self, depth: u32) -> usize {
        (self >> (Self::BITS - 4).saturating_sub(4 * depth)) as usize & (FANOUT - 1)
    }

    fn guess_in(self, _: u32, len: usize) -> usize {
        len / 2
    }
}

#[derive(Debug)]
enum Node<K, V> {
    Empty,
    Leaf(Arc<[(K, V)]>),
    Branch(Arc<[Node<K, V>; FANOUT]>),
}

impl<K, V> Clone for Node<K, V> {
    fn clone(&self) -> Self {
        match self {
            Self::Empty => Self::Empty,
            Self::Leaf(entries) => Self::Leaf(Arc::clone(entries)),
            Self::Branch(children) => Self::Branch(Arc::clone(children)),
        }
    }
}

/// The map; see the module.
#[derive(Debug)]
pub(crate) struct Trie<K, V> {
    root: Node<K, V>,
    len: usize,
}

impl<K, V> Clone for Trie<K, V> {
    fn clone(&self) -> Self {
        Self { root: self.root.clone(), len: self.len }
    }
}

impl<K, V> Default for Trie<K, V> {
    fn default() -> Self {
        Self { root: Node::Empty, len: 0 }
    }
}

impl<K: Key, V: Clone> Trie<K, V> {
    /// Builds a map in one go: nothing is copied twice.
    pub(crate) fn from_entries(mut entries: Vec<(K, V)>) -> Self {
        entries.sort_by_key(|(key, _)| *key);
        let len = entries.len();
        Self { root: build(&mut entries.into_iter(), len, 0), len }
    }

    /// Number of values.
    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    /// The first value at `key` that `matches`.
    pub(crate) fn find(&self, key: K, matches: impl Fn(&V) -> bool) -> Option<&V> {
        self.at(key).iter().map(|(_, value)| value).find(|value| matches(value))
    }

    /// All entries at `key`.
    pub(crate) fn at(&self, key: K) -> &[(K, V)] {
        let mut node = &self.root;
        let mut depth = 0;
        loop {
            match node {
                Node::Empty => return &[],
                Node::Branch(children) => {
                    node = &children[key.nibble(depth)];
                    depth += 1;
                }
                Node::Leaf(entries) => {
                    let from = key.position_in(depth, entries);
                    let rest = entries.get(from..).unwrap_or(&[]);
                    let count = rest.iter().take_while(|(found, _)| *found == key).count();
                    return rest.get(..count).unwrap_or(&[]);
                }
            }
        }
    }

    /// Asks for the last branch on the way to a key, as deep as it lies in a map of this size. The branches above are few
    /// enough to stay near.
    pub(crate) fn touch_way(&self, key: K) {
        let leaves = self.len / LEAF_ENTRIES_MAX;
        let branches = (usize::BITS - leaves.leading_zeros()).div_ceil(FANOUT.ilog2());
        let mut node = &self.root;
        for depth in 0..branches {
            let Node::Branch(children) = node else { return };
            node = &children[key.nibble(depth)];
        }
        crate::prefetch::touch(node);
    }

    /// Asks for the entry that [`Trie::at`] will look at.
    pub(crate) fn touch(&self, key: K) {
        let mut node = &self.root;
        let mut depth = 0;
        while let Node::Branch(children) = node {
            node = &children[key.nibble(depth)];
            depth += 1;
        }
        if let Node::Leaf(entries) = node
            && let Some(entry) = entries.get(key.guess_in(depth, entries.len()))
        {
            crate::prefetch::touch(entry);
        }
    }

    /// Puts `value` at `key`, in place of the value there for which `same` holds; returns that one.
    pub(crate) fn insert(&mut self, key: K, value: V, same: impl Fn(&V) -> bool) -> Option<V> {
        let before = insert(&mut self.root, 0, key, value, &same);
        self.len += usize::from(before.is_none());
        before
    }

    /// Removes and returns the value at `key` for which `same` holds.
    pub(crate) fn remove(&mut self, key: K, same: impl Fn(&V) -> bool) -> Option<V> {
        // Looked up first: a removal of nothing must not copy a path.
        self.find(key, &same)?;
        let removed = remove(&mut self.root, 0, key, &same);
        self.len -= usize::from(removed.is_some());
        removed
    }

    /// Calls `visit` for every entry with `first <= key <= last`, in key order.
    pub(crate) fn visit_range<'a>(&'a self, first: K, last: K, visit: &mut dyn FnMut(K, &'a V)) {
        visit_range(&self.root, 0, (Some(first), Some(last)), visit);
    }

    /// All values, in key order.
    pub(crate) fn iter(&self) -> Iter<'_, K, V> {
        Iter { stack: vec![std::slice::from_ref(&self.root).iter()], leaf: [].iter() }
    }
}

/// Iterator over the values of a [`Trie`].
#[derive(Debug)]
pub(crate) struct Iter<'a, K, V> {
    stack: Vec<std::slice::Iter<'a, Node<K, V>>>,
    leaf: std::slice::Iter<'a, (K, V)>,
}

impl<'a, K, V> Iterator for Iter<'a, K, V> {
    type Item = &'a V;
    fn next(&mut self) -> Option<&'a V> {
        loop {
            if let Some((_, value)) = self.leaf.next() {
                return Some(value);
            }
            match self.stack.last_mut()?.next() {
                None => {
                    self.stack.pop();
                }
                Some(Node::Empty) => {}
                Some(Node::Leaf(entries)) => self.leaf = entries.iter(),
                Some(Node::Branch(children)) => self.stack.push(children.iter()),
            }
        }
    }
}

/// Builds the node of the next `count` entries, which are sorted and agree on their first `depth` nibbles.
fn build<K: Key, V>(entries: &mut std::vec::IntoIter<(K, V)>, count: usize, depth: u32) -> Node<K, V> {
    if count == 0 {
        return Node::Empty;
    }
    if count <= LEAF_ENTRIES_MAX || depth == K::DEPTH_MAX {
        return Node::Leaf(entries.take(count).collect());
    }
    let mut left = count;
    Node::Branch(Arc::new(std::array::from_fn(|nibble| {
        let rest = entries.as_slice().get(..left).unwrap_or(&[]);
        let here = rest.partition_point(|(key, _)| key.nibble(depth) <= nibble);
        left -= here;
        build(entries, here, depth + 1)
    })))
}

fn insert<K: Key, V: Clone>(
    node: &mut Node<K, V>,
    depth: u32,
    key: K,
    value: V,
    same: &impl Fn(&V) -> bool,
) -> Option<V> {
    match node {
        Node::Empty => {
            *node = Node::Leaf(Arc::from([(key, value)]));
            None
        }
        Node::Branch(children) => {
            let child = &mut Arc::make_mut(children)[key.nibble(depth)];
            insert(child, depth + 1, key, value, same)
        }
        Node::Leaf(entries) => {
            if let Some(at) = position(entries, key, same) {
                let entry = Arc::make_mut(entries).get_mut(at)?;
                return Some(std::mem::replace(&mut entry.1, value));
            }
            let at = entries.partition_point(|(found, _)| *found <= key);
            let (before, after) = entries.split_at(at);
            let mut grown = Vec::with_capacity(entries.len() + 1);
            grown.extend_from_slice(before);
            grown.push((key, value));
            grown.extend_from_slice(after);
            let count = grown.len();
            *node = build(&mut grown.into_iter(), count, depth);
            None
        }
    }
}

fn remove<K: Key, V: Clone>(
    node: &mut Node<K, V>,
    depth: u32,
    key: K,
    same: &impl Fn(&V) -> bool,
) -> Option<V> {
    match node {
        Node::Empty => None,
        Node::Leaf(entries) => {
            let at = position(entries, key, same)?;
            let mut left = entries.to_vec();
            let (_, removed) = left.remove(at);
            *node = if left.is_empty() { Node::Empty } else { Node::Leaf(left.into()) };
            Some(removed)
        }
        Node::Branch(children) => {
            let removed = remove(&mut Arc::make_mut(children)[key.nibble(depth)], depth + 1, key, same);
            if let Some(merged) = merged(children) {
                *node = merged;
            }
            removed
        }
    }
}

fn position<K: Key, V>(entries: &[(K, V)], key: K, same: &impl Fn(&V) -> bool) -> Option<usize> {
    entries.iter().position(|(found, value)| *found == key && same(value))
}

/// The leaf that can stand for a branch with few entries left below it.
fn merged<K: Key, V: Clone>(children: &[Node<K, V>; FANOUT]) -> Option<Node<K, V>> {
    let mut count = 0;
    for child in children {
        match child {
            Node::Empty => {}
            Node::Leaf(entries) => count += entries.len(),
            Node::Branch(_) => return None,
        }
    }
    if count > LEAF_ENTRIES_MERGE {
        return None;
    }
    let entries: Vec<(K, V)> = children
        .iter()
        .filter_map(|child| match child {
            Node::Leaf(entries) => Some(entries),
            Node::Empty | Node::Branch(_) => None,
        })
        .flat_map(|entries| entries.iter().cloned())
        .collect();
    Some(build(&mut entries.into_iter(), count, K::DEPTH_MAX))
}

/// `bounds` are the ends of the range that still matter below `node`: an end is dropped once the path left it.
fn visit_range<'a, K: Key, V>(
    node: &'a Node<K, V>,
    depth: u32,
    bounds: (Option<K>, Option<K>),
    visit: &mut dyn FnMut(K, &'a V),
) {
    let (first, last) = bounds;
    match node {
        Node::Empty => {}
        Node::Leaf(entries) => {
            let from = first.map_or(0, |first| entries.partition_point(|(key, _)| *key < first));
            for (key, value) in entries.get(from..).unwrap_or(&[]) {
                if last.is_some_and(|last| *key > last) {
                    break;
                }
                visit(*key, value);
            }
        }
        Node::Branch(children) => {
            let from = first.map_or(0, |first| first.nibble(depth));
            let to = last.map_or(FANOUT - 1, |last| last.nibble(depth));
            for (nibble, child) in children.iter().enumerate().take(to + 1).skip(from) {
                let bounds = (first.filter(|_| nibble == from), last.filter(|_| nibble == to));
                visit_range(child, depth + 1, bounds, visit);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    /// Nodes of `new` that `old` does not share: what the writes between them copied.
    fn copied<K, V>(old: &Node<K, V>, new: &Node<K, V>) -> usize {
        match (old, new) {
            (Node::Leaf(old), Node::Leaf(new)) if Arc::ptr_eq(old, new) => 0,
            (Node::Branch(old), Node::Branch(new)) if Arc::ptr_eq(old, new) => 0,
            (Node::Branch(old), Node::Branch(new)) => {
                1 + old.iter().zip(new.iter()).map(|(old, new)| copied(old, new)).sum::<usize>()
            }
            (_, Node::Empty) => 0,
            (_, Node::Leaf(_)) => 1,
            (_, Node::Branch(children)) => {
                1 + children.iter().map(|child| copied(&Node::Empty, child)).sum::<usize>()
            }
        }
    }

    fn spread(number: u64) -> u64 {
        crate::snapshot::hash::avalanche(number)
    }

    #[test]
    fn one_write_among_many_copies_one_path() {
        let entries = (0..200_000_u64).map(|number| (spread(number), Arc::new(number))).collect();
        let old: Trie<u64, Arc<u64>> = Trie::from_entries(entries);
        let mut new = old.clone();
        new.insert(spread(77), Arc::new(1), |value| **value == 77);
        assert!(copied(&old.root, &new.root) <= 6);
        let mut new = old.clone();
        new.insert(spread(200_001), Arc::new(200_001), |_| false);
        new.remove(spread(5), |value| **value == 5).unwrap();
        assert!(copied(&old.root, &new.root) <= 12);
        assert_eq!((old.len(), new.len()), (200_000, 200_000));
        assert!(old.find(spread(5), |_| true).is_some());
    }

    #[test]
    fn removing_what_is_absent_copies_nothing() {
        let old: Trie<u64, u64> = Trie::from_entries((0..1000).map(|n| (spread(n), n)).collect());
        let mut new = old.clone();
        assert_eq!(new.remove(spread(5000), |_| true), None);
        assert_eq!(copied(&old.root, &new.root), 0);
    }

    #[test]
    fn values_that_share_a_key_are_kept_apart_however_many_there_are() {
        let mut trie: Trie<u64, u64> = Trie::default();
        for number in 0..200 {
            trie.insert(42, number, |value| *value == number);
        }
        assert_eq!(trie.at(42).len(), 200);
        assert_eq!(trie.find(42, |value| *value == 150), Some(&150));
        for number in 0..199 {
            assert_eq!(trie.remove(42, |value| *value == number), Some(number));
        }
        assert_eq!(trie.iter().copied().collect::<Vec<_>>(), [199]);
    }

    proptest! {
        #[test]
        fn it_behaves_like_an_ordered_map_and_old_versions_stay_as_they_were(
            start in proptest::collection::vec(any::<u8>(), 0..200),
            writes in proptest::collection::vec((any::<bool>(), any::<u16>()), 0..600),
            bounds in (any::<u16>(), any::<u16>()),
        ) {
            // Keys crowd in the low bits, so that paths are long and leaves both split and merge.
            let mut model: BTreeMap<u128, u16> =
                start.iter().map(|key| (u128::from(*key), 0)).collect();
            let mut trie = Trie::from_entries(model.iter().map(|(key, value)| (*key, *value)).collect());
            let old = trie.clone();
            let before = model.clone();
            for (at, (put, key)) in writes.iter().enumerate() {
                let (key, value) = (u128::from(key % 300), at as u16);
                if *put {
                    prop_assert_eq!(trie.insert(key, value, |_| true), model.insert(key, value));
                } else {
                    prop_assert_eq!(trie.remove(key, |_| true), model.remove(&key));
                }
            }
            prop_assert_eq!(trie.len(), model.len());
            prop_assert!(trie.iter().eq(model.values()));
            prop_assert!(old.iter().eq(before.values()));
            let (first, last) = (u128::from(bounds.0.min(bounds.1) % 300), u128::from(bounds.0.max(bounds.1)));
            let mut seen = Vec::new();
            trie.visit_range(first, last, &mut |key, value| seen.push((key, *value)));
            let expected: Vec<_> = model.range(first..=last).map(|(key, value)| (*key, *value)).collect();
            prop_assert_eq!(seen, expected);
        }
    }
}
