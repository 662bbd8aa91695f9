//! Things found by number: a table whose places are used again, with keys that notice it. No fd
//! and no clock; what the things are is the caller's business.

/// Where a thing is, and which of the things that were there it is. Fits the user-data of epoll
/// beside a handler's number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    index: u32,
    /// Below 2^24. A stale key would have to wait for 16 million other owners of its place, within
    /// one turn of the loop, to be mistaken for a fresh one.
    generation: u32,
}

impl Key {
    const GENERATION_BITS: u32 = 24;

    /// The key in the low 56 bits.
    pub fn to_bits(self) -> u64 {
        u64::from(self.generation) << 32 | u64::from(self.index)
    }

    /// The key out of the low 56 bits.
    pub fn from_bits(bits: u64) -> Key {
        let generation = (bits >> 32) as u32 & ((1 << Self::GENERATION_BITS) - 1);
        Key { index: bits as u32, generation }
    }
}

/// A table of `T`s.
#[derive(Debug)]
pub struct Slots<T> {
    slots: Vec<Slot<T>>,
    /// Places to use again, the latest left first: its memory is the warmest.
    free: Vec<u32>,
}

#[derive(Debug)]
struct Slot<T> {
    generation: u32,
    value: Option<T>,
}

impl<T> Default for Slots<T> {
    fn default() -> Self {
        Slots { slots: Vec::new(), free: Vec::new() }
    }
}

impl<T> Slots<T> {
    /// Takes the thing in and says where it is.
    pub fn insert(&mut self, value: T) -> Key {
        self.insert_with(|_| value)
    }

    /// The same for a thing that wants to know its own key.
    pub fn insert_with(&mut self, make: impl FnOnce(Key) -> T) -> Key {
        let index = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot { generation: 0, value: None });
            u32::try_from(self.slots.len() - 1).expect("fewer than 2^32 things at a time")
        });
        let slot = &mut self.slots[index as usize];
        let key = Key { index, generation: slot.generation };
        slot.value = Some(make(key));
        key
    }

    /// The thing, unless it is gone.
    #[inline]
    pub fn get(&self, key: Key) -> Option<&T> {
        let slot = self.slots.get(key.index as usize)?;
        if slot.generation == key.generation { slot.value.as_ref() } else { None }
    }

    /// The thing, unless it is gone.
    #[inline]
    pub fn get_mut(&mut self, key: Key) -> Option<&mut T> {
        let slot = self.slots.get_mut(key.index as usize)?;
        if slot.generation == key.generation { slot.value.as_mut() } else { None }
    }

    /// Takes the thing out; its key finds nothing from now on.
    pub fn remove(&mut self, key: Key) -> Option<T> {
        let slot = self.slots.get_mut(key.index as usize)?;
        if slot.generation != key.generation {
            return None;
        }
        let value = slot.value.take()?;
        slot.generation = (slot.generation + 1) & ((1 << Key::GENERATION_BITS) - 1);
        self.free.push(key.index);
        Some(value)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// All of them, by place. Looks at every place there ever was: not for the path of a message.
    pub fn iter(&self) -> impl Iterator<Item = (Key, &T)> {
        self.slots.iter().enumerate().filter_map(|(index, slot)| {
            let key = Key { index: index as u32, generation: slot.generation };
            slot.value.as_ref().map(|value| (key, value))
        })
    }

    /// The keys of all of them, for a caller that will change the table on the way.
    pub fn keys(&self) -> Vec<Key> {
        self.iter().map(|(key, _)| key).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stale_key_finds_nothing() {
        let mut slots = Slots::default();
        let first = slots.insert("first");
        assert_eq!(slots.remove(first), Some("first"));
        let second = slots.insert("second");
        assert_eq!(slots.get(first), None);
        assert_eq!(slots.remove(first), None);
        assert_eq!(slots.get(second), Some(&"second"));
        assert_eq!(second.index, first.index);
    }

    #[test]
    fn a_key_survives_the_trip_through_the_kernel() {
        let mut slots = Slots::default();
        for _ in 0..5 {
            let key = slots.insert(());
            slots.remove(key);
        }
        let key = slots.insert(());
        assert_eq!(Key::from_bits(key.to_bits()), key);
        assert_eq!(Key::from_bits(key.to_bits() | 0xff << 56), key);
    }

    #[test]
    fn counts_and_lists_what_is_there() {
        let mut slots = Slots::default();
        let keys: Vec<Key> = (0..10).map(|n| slots.insert(n)).collect();
        slots.remove(keys[3]);
        assert_eq!(slots.len(), 9);
        assert_eq!(slots.keys().len(), 9);
        assert!(slots.iter().all(|(key, &n)| keys[n] == key && n != 3));
    }

    #[test]
    fn generations_wrap() {
        let mut slots = Slots::default();
        let first = slots.insert(());
        slots.slots[0].generation = (1 << Key::GENERATION_BITS) - 1;
        let last = Key { generation: (1 << Key::GENERATION_BITS) - 1, ..first };
        slots.remove(last);
        let key = slots.insert(());
        assert_eq!(key.generation, 0);
        assert!(slots.get(key).is_some());
    }
}
