//! Banks of shared memory: 32, each of 4 bytes.

/// The passes that lanes with these addresses take beyond the least, each for so many bytes.
pub(super) fn conflicts(addresses: &[u64], bytes: u64) -> u64 {
    // Of wide accesses, only so many lanes are served at a time as fill all banks once.
    let at_once = (128 / bytes.max(4)) as usize;
    addresses.chunks(at_once.max(1)).map(|lanes| passes(lanes, bytes).saturating_sub(1)).sum()
}

/// The passes of one group of lanes: the most words that one bank has to give.
fn passes(lanes: &[u64], bytes: u64) -> u64 {
    let mut words: Vec<u64> = Vec::with_capacity(32);
    for address in lanes {
        words.extend((address / 4)..=((address + bytes - 1) / 4));
    }
    words.sort_unstable();
    words.dedup();
    let mut count = [0u8; 32];
    words.iter().for_each(|word| count[(word % 32) as usize] += 1);
    count.into_iter().max().unwrap_or(0).into()
}
