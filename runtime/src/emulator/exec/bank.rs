//! Banks of shared memory: 32, each of 4 bytes.

/// The passes that lanes with these addresses take beyond the least, each for so many bytes.
pub(super) fn conflicts(addresses: &[u64], bytes: u64) -> u64 {
    // Of wide accesses, only so many lanes are served at a time as fill all banks once.
    let at_once = (128 / bytes.max(4)) as usize;
    addresses.chunks(at_once.max(1)).map(|lanes| passes(lanes, bytes).saturating_sub(1)).sum()
}

/// The passes of one group of lanes: the most words that one bank has to give.
fn passes(lanes: &[u64], bytes: u64) -> u64 {
    let mut words = [0; 64];
    let mut count = 0;
    for address in lanes {
        // What is not aligned, or beyond 32 bits, is refused when it is accessed.
        let address = address & 0xffff_ffff;
        for word in address / 4..=(address + bytes - 1) / 4 {
            words[count] = word;
            count += 1;
        }
    }
    let words = &mut words[..count];
    words.sort_unstable();
    let mut found = [0u8; 32];
    for (position, word) in words.iter().enumerate() {
        // Lanes that want the same word get it at once.
        if position == 0 || words[position - 1] != *word {
            found[(word % 32) as usize] += 1;
        }
    }
    found.into_iter().max().unwrap_or(0).into()
}
