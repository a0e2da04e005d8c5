//! Cases by chance, for runs without libFuzzer.

use rand::{Rng, RngExt};

use crate::mutation::SIZE;

/// A case that looks like one of `target`: from nothing, or one of `seeds` changed a little.
pub fn case(target: &str, seeds: &[Vec<u8>], random: &mut impl Rng) -> Vec<u8> {
    if !seeds.is_empty() && random.random_bool(0.3) {
        return changed(&seeds[random.random_range(0..seeds.len())], random);
    }
    match target {
        "message" => message(random),
        _ => mutations(random),
    }
}

fn mutations(random: &mut impl Rng) -> Vec<u8> {
    let count = [1, 1, 1, 2, 3, 6][random.random_range(0..6)];
    let mut data = vec![random.random::<u8>()];
    for _ in 0..count {
        let mut mutation: [u8; SIZE] = random.random();
        // Cutting and removing files ends most cases early.
        if matches!(mutation[1] & 7, 5 | 7) && random.random_bool(0.7) {
            mutation[1] &= !7;
        }
        // Headers are where it matters.
        if mutation[1] & 0x40 != 0 {
            mutation[2] %= [64, 80, 32, 255][random.random_range(0..4)];
        }
        data.extend_from_slice(&mutation);
    }
    data
}

/// Fields of messages, mostly well-formed.
fn message(random: &mut impl Rng) -> Vec<u8> {
    let user: Vec<u8> = (0..random.random_range(0..3))
        .flat_map(|_| {
            let entry: Vec<u8> = (0..random.random_range(0..4))
                .flat_map(|_| field(random, 3, 12))
                .collect();
            [&[2 << 3 | 2, entry.len() as u8][..], &entry].concat()
        })
        .collect();
    let system: Vec<u8> = (0..random.random_range(0..5))
        .flat_map(|_| field(random, 5, 20))
        .collect();
    let mut body = vec![0; [0, 1, 100, 3000, 17 << 10][random.random_range(0..5)]];
    random.fill_bytes(&mut body);
    let mut data = vec![user.len() as u8, system.len() as u8];
    data.extend([user, system, body].concat());
    data
}

fn field(random: &mut impl Rng, numbers: u8, most: usize) -> Vec<u8> {
    let wire = [2, 2, 2, 2, 0, 1, 5, 3][random.random_range(0..8)];
    let mut content = vec![0; random.random_range(0..=most)];
    match random.random_bool(0.8) {
        true => content
            .iter_mut()
            .for_each(|byte| *byte = random.random_range(b'a'..=b'c')),
        false => random.fill_bytes(&mut content),
    }
    let len = content.len() as u8;
    let content = match wire {
        2 => [&[len][..], &content].concat(),
        0 => vec![0x80 | len, random.random_range(0..200)],
        1 => vec![len; 8],
        _ => vec![len; 4],
    };
    [
        &[random.random_range(0..=numbers) << 3 | wire][..],
        &content,
    ]
    .concat()
}

fn changed(seed: &[u8], random: &mut impl Rng) -> Vec<u8> {
    let mut data = seed.to_vec();
    for _ in 0..random.random_range(1..4) {
        let at = random.random_range(0..=data.len());
        match random.random_range(0..4) {
            0 => data.insert(at, random.random()),
            1 if at < data.len() => drop(data.remove(at)),
            2 => data.truncate(at),
            _ if at < data.len() => data[at] = random.random(),
            _ => data.extend(random.random::<[u8; SIZE]>()),
        }
    }
    data
}
