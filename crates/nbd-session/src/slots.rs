//! Numbered places for what waits, so that an answer finds it without a search.

/// Places that are filled and emptied. A key is never given twice in a row: a late or forged answer
/// does not find somebody else's place.
#[derive(Debug)]
pub(crate) struct Slots<T> {
    places: Vec<Place<T>>,
    free: Vec<u32>,
    filled: usize,
}

#[derive(Debug)]
struct Place<T> {
    /// Grows each time the place is emptied.
    turn: u32,
    value: Option<T>,
}

impl<T> Slots<T> {
    pub(crate) const fn new() -> Self {
        Self { places: Vec::new(), free: Vec::new(), filled: 0 }
    }

    pub(crate) const fn len(&self) -> usize {
        self.filled
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.filled == 0
    }

    /// Fills a place; gives its key.
    pub(crate) fn insert(&mut self, value: T) -> u64 {
        self.filled += 1;
        let index = self.free.pop().unwrap_or_else(|| {
            self.places.push(Place { turn: 0, value: None });
            u32::try_from(self.places.len() - 1).expect("links bound their calls")
        });
        let place = &mut self.places[index as usize];
        place.value = Some(value);
        u64::from(place.turn) << 32 | u64::from(index)
    }

    pub(crate) fn get(&self, key: u64) -> Option<&T> {
        let (index, turn) = parts(key);
        self.places.get(index).filter(|place| place.turn == turn)?.value.as_ref()
    }

    pub(crate) fn get_mut(&mut self, key: u64) -> Option<&mut T> {
        let (index, turn) = parts(key);
        self.places.get_mut(index).filter(|place| place.turn == turn)?.value.as_mut()
    }

    /// Empties the place.
    pub(crate) fn remove(&mut self, key: u64) -> Option<T> {
        let (index, turn) = parts(key);
        let place = self.places.get_mut(index).filter(|place| place.turn == turn)?;
        let value = place.value.take()?;
        place.turn = place.turn.wrapping_add(1);
        self.filled -= 1;
        // The index came from a place that exists.
        self.free.push(u32::try_from(index).expect("links bound their calls"));
        Some(value)
    }
}

#[allow(clippy::cast_possible_truncation, reason = "the two halves of the key")]
const fn parts(key: u64) -> (usize, u32) {
    ((key & 0xffff_ffff) as usize, (key >> 32) as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_emptied_places_key_finds_nothing_although_the_place_is_used_again() {
        let mut slots = Slots::new();
        let first = slots.insert('a');
        assert_eq!(slots.remove(first), Some('a'));
        let second = slots.insert('b');
        assert_ne!(first, second);
        assert_eq!(slots.get(first), None);
        assert_eq!(slots.remove(first), None);
        assert_eq!(slots.get(second), Some(&'b'));
        assert_eq!(slots.len(), 1);
    }

    #[test]
    fn a_key_that_was_never_given_finds_nothing() {
        let mut slots = Slots::new();
        slots.insert('a');
        assert_eq!(slots.get(u64::MAX), None);
        assert_eq!(slots.get_mut(7), None);
    }
}
