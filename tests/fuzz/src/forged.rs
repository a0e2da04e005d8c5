//! Mutations brought into effect.

use crate::image::{Content, Image};
use crate::layout::Layout;
use crate::mutation::{Damage, Mutation, Place};

/// Bytes behind the written ones that mutations reach.
const BEYOND: usize = 256;

/// What was done to an image.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Forgery {
    /// Something is not as it was.
    pub(crate) touched: bool,
    /// A checksum was made to fit.
    pub(crate) sealed: bool,
}

/// Brings mutations into effect on the files of the image for which `mine` is true.
pub(crate) fn forge(
    image: &mut Image,
    mutations: &[Mutation],
    mine: impl Fn(&Content) -> bool,
) -> Forgery {
    let mut files: Vec<&mut Content> = image.files.iter_mut().filter(|file| mine(file)).collect();
    let sound: Vec<Content> = files.iter().map(|file| (*file).clone()).collect();
    let mut gone = Vec::new();
    for mutation in mutations {
        let n = mutation.file % files.len();
        if mutation.damage == Damage::Gone {
            gone.push(sound[n].path.clone());
        } else {
            apply(files[n], &sound[n], mutation);
        }
    }
    let changed = files
        .iter()
        .zip(&sound)
        .any(|(now, before)| now.bytes != before.bytes || now.len != before.len);
    let touched = changed || !gone.is_empty();
    image.files.retain(|file| !gone.contains(&file.path));
    Forgery {
        touched,
        sealed: touched && mutations.iter().any(|mutation| mutation.sealed),
    }
}

fn apply(file: &mut Content, sound: &Content, mutation: &Mutation) {
    let layout = Layout::of(&file.path);
    let units = layout.units(&sound.bytes);
    let reach = (sound.bytes.len() + BEYOND).min(sound.len).max(1);
    let at = match mutation.place {
        Place::Unit(n, at) if !units.is_empty() => units[n % units.len()].start + at,
        Place::Byte(at) | Place::Unit(_, at) => at % reach,
    };
    damage(file, at, mutation.damage);
    if mutation.sealed
        && let Some(unit) = units.iter().rfind(|unit| unit.start <= at)
    {
        layout.seal(unit, &mut file.bytes);
    }
}

fn damage(file: &mut Content, at: usize, damage: Damage) {
    let present = |at: usize| file.bytes.get(at).copied().unwrap_or_default();
    match damage {
        Damage::Flip(bits) => put(file, at, &[present(at) ^ bits]),
        Damage::Half(value) => put(file, at, &value.to_le_bytes()),
        Damage::Long(value) => put(file, at, &value.to_le_bytes()),
        Damage::Zero(count) => put(file, at, &vec![0; count]),
        Damage::Add(delta) => {
            let value = u32::from_le_bytes(std::array::from_fn(|i| present(at + i)));
            put(
                file,
                at,
                &value.wrapping_add_signed(delta.into()).to_le_bytes(),
            );
        }
        Damage::Copy(from, count) => {
            let from = file.bytes.get(from..).unwrap_or_default();
            let copied = from[..count.min(from.len())].to_vec();
            put(file, at, &copied);
        }
        Damage::Cut { page } => {
            let len = if page { at / 4096 * 4096 } else { at };
            file.len = file.len.min(len);
            file.bytes.truncate(file.len);
        }
        Damage::Gone => {}
    }
}

/// Writes what the file has room for.
fn put(file: &mut Content, at: usize, bytes: &[u8]) {
    let end = (at + bytes.len()).min(file.len);
    if at >= end {
        return;
    }
    if file.bytes.len() < end {
        file.bytes.resize(end, 0);
    }
    file.bytes[at..end].copy_from_slice(&bytes[..end - at]);
}
