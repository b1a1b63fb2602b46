//! Every truncation and every changed byte of a small journal: the right prefix, or a named refusal.

use lastmile::journal::{Config, MemoryDisk, RecoverError};

use super::support::{Read, Rig, config, read, segments};

/// Two segments of single and grouped commits, cut off shortly after their data to keep them small.
fn small_journal() -> (Vec<(String, Vec<u8>)>, Vec<Read>) {
    let disk = MemoryDisk::new(1);
    let mut all = Vec::new();
    let mut number = 0_u8;
    for _ in 0..2 {
        let mut rig = Rig::new(&disk);
        for group in [1, 3, 1, 2] {
            for _ in 0..group {
                number += 1;
                let payload = vec![number; usize::from(number) * 3];
                rig.submit(Some(1), &payload).unwrap();
                all.push((u64::from(number), payload));
            }
            rig.stepper.settle();
        }
        drop(rig);
        disk.kill();
    }
    let files = segments(&disk)
        .into_iter()
        .map(|name| {
            let mut bytes = disk.contents(&name).unwrap();
            let end = bytes.iter().rposition(|byte| *byte != 0).unwrap();
            bytes.truncate(end + 40);
            (name, bytes)
        })
        .collect();
    (files, all)
}

fn recovered_from(files: &[(String, Vec<u8>)], config: &Config) -> Result<Vec<Read>, RecoverError> {
    let disk = MemoryDisk::new(0);
    for (name, bytes) in files {
        disk.put(name, bytes);
    }
    read(&disk, config, 0).map(|(_, visited)| visited)
}

/// Returns whether recovery refused.
fn check(files: &[(String, Vec<u8>)], all: &[Read], what: &str) -> bool {
    let accepting = Config { accept_loss: true, ..config() };
    let kept = recovered_from(files, &accepting).unwrap_or_else(|error| panic!("{what}: {error}"));
    assert!(kept.iter().all(|record| all.contains(record)), "{what}: a wrong record");
    assert!(kept.is_sorted(), "{what}: out of order");
    match recovered_from(files, &config()) {
        Ok(visited) => {
            assert!(all.starts_with(&visited), "{what}: not a prefix");
            // The last commit of the newest segment is the only thing that can be taken for torn.
            assert!(visited.len() >= all.len() - 2, "{what}: {} records", visited.len());
            false
        }
        Err(
            RecoverError::Corrupt { .. }
            | RecoverError::Gap { .. }
            | RecoverError::HeaderDamaged { .. }
            | RecoverError::EmptyFile { .. },
        ) => true,
        Err(other) => panic!("{what}: {other}"),
    }
}

#[test]
fn every_changed_byte_gives_the_right_prefix_or_a_named_refusal() {
    let (files, all) = small_journal();
    assert_eq!(recovered_from(&files, &config()).unwrap(), all);
    let (mut refused, mut read) = (0, 0);
    for file in 0..files.len() {
        for position in 0..files[file].1.len() {
            // The padding of the header is neither covered nor read.
            if (64..4090).contains(&position) {
                continue;
            }
            for change in [0x01, 0x80, 0xff] {
                let mut changed = files.clone();
                changed[file].1[position] ^= change;
                let what = format!("file {file}, byte {position} ^ {change:#x}");
                if check(&changed, &all, &what) {
                    refused += 1;
                } else {
                    read += 1;
                }
            }
        }
    }
    assert!(refused > 1000 && read > 300, "{refused} refused, {read} read");
}

#[test]
fn every_truncation_gives_the_right_prefix_or_a_named_refusal() {
    let (files, all) = small_journal();
    for file in 0..files.len() {
        for length in 0..files[file].1.len() {
            if (64..4090).contains(&length) {
                continue;
            }
            let mut cut = files.clone();
            cut[file].1.truncate(length);
            let accepting = Config { accept_loss: true, ..config() };
            let what = format!("file {file} cut to {length}");
            let kept = recovered_from(&cut, &accepting).unwrap();
            assert!(kept.iter().all(|record| all.contains(record)) && kept.is_sorted(), "{what}");
            match recovered_from(&cut, &config()) {
                Ok(visited) => assert!(all.starts_with(&visited), "{what}: not a prefix"),
                Err(
                    RecoverError::Corrupt { .. }
                    | RecoverError::Gap { .. }
                    | RecoverError::HeaderDamaged { .. }
                    | RecoverError::EmptyFile { .. },
                ) => {}
                Err(other) => panic!("{what}: {other}"),
            }
        }
    }
}
