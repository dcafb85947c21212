//! Whatever commands do to a tree between checkpoints, every one of them comes back as it was.

use std::{
    collections::BTreeMap,
    fs::{self, Permissions},
    os::unix::fs::{PermissionsExt, symlink},
    path::PathBuf,
};

use proptest::prelude::*;

use super::{tests::Home, work::put_back};

/// Something a command could do.
#[derive(Debug, Clone)]
enum Act {
    Write(usize, u8),
    MakeDir(usize),
    Remove(usize),
    Rename(usize, usize),
    Link(usize, usize),
    Symlink(usize, usize),
    Mode(usize, u32),
    Take,
    Restore(prop::sample::Index),
}

const PATHS: [&str; 8] = ["a", "b", "b/c", "b/d", "b/d/e", "f", "f/g", "b.d"];

fn act() -> impl Strategy<Value = Act> {
    let path = 0..PATHS.len();
    prop_oneof![
        4 => (path.clone(), any::<u8>()).prop_map(|(path, byte)| Act::Write(path, byte)),
        2 => path.clone().prop_map(Act::MakeDir),
        1 => path.clone().prop_map(Act::Remove),
        1 => (path.clone(), path.clone()).prop_map(|(from, to)| Act::Rename(from, to)),
        1 => (path.clone(), path.clone()).prop_map(|(from, to)| Act::Link(from, to)),
        1 => (path.clone(), path.clone()).prop_map(|(from, to)| Act::Symlink(from, to)),
        1 => (path, prop_oneof![Just(0o700_u32), Just(0o755)]).prop_map(|(path, mode)| Act::Mode(path, mode)),
        2 => Just(Act::Take),
        1 => any::<prop::sample::Index>().prop_map(Act::Restore),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Also when changes follow each other faster than the clock of the file system ticks.
    #[test]
    fn whatever_was_done_every_checkpoint_comes_back(acts in prop::collection::vec(act(), 1..60)) {
        let home = Home::new();
        let mut taken: Vec<(String, BTreeMap<PathBuf, String>)> = Vec::new();
        for act in &acts {
            let at = |path: &usize| home.at(PATHS[*path]);
            // What can't be done is not done.
            let _ = match act {
                Act::Write(path, byte) => fs::write(at(path), [*byte; 3]),
                Act::MakeDir(path) => fs::create_dir(at(path)),
                Act::Remove(path) => fs::remove_file(at(path)).or_else(|_| fs::remove_dir_all(at(path))),
                Act::Rename(from, to) => fs::rename(at(from), at(to)),
                Act::Link(from, to) => fs::hard_link(at(from), at(to)),
                Act::Symlink(from, to) => symlink(PATHS[*from], at(to)),
                Act::Mode(path, mode) => fs::symlink_metadata(at(path)).and_then(|is| {
                    if is.is_symlink() { Ok(()) } else { fs::set_permissions(at(path), Permissions::from_mode(*mode)) }
                }),
                Act::Take => {
                    taken.push((home.take(), home.tree()));
                    Ok(())
                }
                Act::Restore(index) => {
                    if !taken.is_empty() {
                        let (id, tree) = index.get(&taken);
                        put_back(&home.vault, id).unwrap();
                        prop_assert_eq!(&home.tree(), tree, "{}", id);
                    }
                    Ok(())
                }
            };
        }
        for (id, tree) in taken.iter().rev() {
            put_back(&home.vault, id).unwrap();
            prop_assert_eq!(&home.tree(), tree, "{}", id);
        }
    }
}
