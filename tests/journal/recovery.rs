//! Reading back: what is a torn end, what is damage, what is refused.

use lastmile::journal::{Config, Disk, MemoryDisk, RecoverError, Sequence};

use super::support::{Rig, SEGMENT, config, read, segment_name, segments, sequences_read};

/// Where record number `index` of a segment of 10-byte payloads begins.
fn offset(index: usize) -> usize {
    4096 + index * 30
}

fn accepting() -> Config {
    Config { accept_loss: true, ..config() }
}

fn damage(disk: &MemoryDisk, first: u64, change: impl FnOnce(&mut Vec<u8>)) {
    let name = segment_name(first);
    let mut bytes = disk.contents(&name).unwrap();
    change(&mut bytes);
    disk.put(&name, &bytes);
}

/// Five commits of one record, one commit of three; then killed.
fn eight_records() -> MemoryDisk {
    let disk = MemoryDisk::new(1);
    let mut rig = Rig::new(&disk);
    for number in 1..=5 {
        rig.commit(&[number; 10]);
    }
    for number in 6..=8 {
        rig.submit(Some(1), &[number; 10]).unwrap();
    }
    rig.stepper.settle();
    drop(rig);
    disk.kill();
    disk
}

/// Three segments: 1..=3, then 4..=6, then 7..=8, each begun by a restart.
fn three_segments() -> MemoryDisk {
    let disk = MemoryDisk::new(1);
    for numbers in [1..=3, 4..=6, 7..=8] {
        let mut rig = Rig::new(&disk);
        for number in numbers {
            rig.commit(&[number; 10]);
        }
        drop(rig);
        disk.kill();
    }
    disk
}

#[test]
fn an_empty_directory_is_a_clean_journal() {
    let (recovered, visited) = read(&MemoryDisk::new(0), &config(), 0).unwrap();
    assert_eq!((recovered.next, recovered.clean), (Sequence(1), true));
    assert!(visited.is_empty() && recovered.last.is_none());
}

#[test]
fn records_after_a_position_are_visited_and_those_before_are_not() {
    let disk = three_segments();
    for from in 0..=8 {
        let (recovered, visited) = read(&disk, &config(), from).unwrap();
        assert_eq!(recovered.next, Sequence(9));
        let sequences: Vec<u64> = visited.iter().map(|(sequence, _)| *sequence).collect();
        assert_eq!(sequences, (from + 1..=8).collect::<Vec<_>>());
    }
}

#[test]
fn a_segment_made_but_never_used_is_no_error() {
    let disk = eight_records();
    let rig = Rig::new(&disk);
    drop(rig);
    disk.kill();
    let mut rig = Rig::new(&disk);
    rig.stepper.fill_ahead();
    drop(rig);
    disk.kill();
    assert_eq!(sequences_read(&disk), (1..=8).collect::<Vec<_>>());
    let mut rig = Rig::new(&disk);
    rig.commit(&[9; 10]);
    assert_eq!(rig.sequences(), [9]);
}

#[test]
fn a_bad_record_with_nothing_behind_it_is_a_torn_end() {
    let disk = eight_records();
    damage(&disk, 1, |bytes| bytes[offset(7) + 20] ^= 1);
    let (recovered, visited) = read(&disk, &config(), 0).unwrap();
    assert_eq!((recovered.next, recovered.torn_bytes, recovered.clean), (Sequence(8), 30, false));
    assert_eq!(visited.len(), 7);
}

#[test]
fn a_bad_record_followed_by_records_of_its_own_commit_is_a_torn_end() {
    for index in [5, 6] {
        let disk = eight_records();
        damage(&disk, 1, |bytes| bytes[offset(index)..offset(index + 1)].fill(0));
        let (recovered, visited) = read(&disk, &config(), 0).unwrap();
        assert_eq!(visited.len(), index, "the sectors of one commit survive independently");
        assert_eq!(recovered.torn_bytes, (offset(8) - offset(index)) as u64);
        drop(recovered);
        let mut rig = Rig::new(&disk);
        rig.commit(b"goes on");
        drop(rig);
        disk.kill();
        let sequences = sequences_read(&disk);
        assert_eq!(sequences, (1..=index as u64 + 1).collect::<Vec<_>>());
    }
}

#[test]
fn a_bad_record_followed_by_a_later_commit_is_damage_with_its_place() {
    for index in 0..5 {
        let disk = eight_records();
        damage(&disk, 1, |bytes| bytes[offset(index) + 20] ^= 1);
        let refused = read(&disk, &config(), 0).unwrap_err();
        let at = offset(index);
        let number = index + 1;
        assert_eq!(
            refused.to_string(),
            format!(
                "journal file {} is damaged at offset {at}: record {number} does not read back; restore the file, \
                 or start once with accept_loss",
                segment_name(1)
            )
        );
        assert_eq!(segments(&disk), [segment_name(1)], "refusing renames nothing");
    }
}

#[test]
fn zeros_followed_by_a_later_commit_are_damage_too() {
    let disk = eight_records();
    damage(&disk, 1, |bytes| bytes[offset(1)..offset(3)].fill(0));
    let refused = read(&disk, &config(), 0).unwrap_err();
    assert!(matches!(refused, RecoverError::Corrupt { sequence: Sequence(2), .. }), "{refused}");
}

#[test]
fn accepted_damage_keeps_what_precedes_and_follows_now_and_later() {
    let disk = eight_records();
    damage(&disk, 1, |bytes| bytes[offset(1)..offset(3)].fill(7));
    let (recovered, visited) = read(&disk, &accepting(), 0).unwrap();
    let sequences: Vec<u64> = visited.iter().map(|(sequence, _)| *sequence).collect();
    assert_eq!(sequences, [1, 4, 5, 6, 7, 8]);
    let lost = &recovered.lost[0];
    assert_eq!((lost.first, lost.last, lost.file.as_str()), (Sequence(2), Sequence(3), &segment_name(1)[..]));
    assert_eq!(recovered.lost.len(), 1);
    let aside = format!("{}.corrupt", segment_name(1));
    assert_eq!(segments(&disk), std::slice::from_ref(&aside));
    let mut rig = Rig::start(&disk, accepting(), recovered, 2);
    rig.commit(&[9; 10]);
    drop(rig);
    disk.power_cut();
    // The loss was accepted once; a later start asks no more.
    let (recovered, visited) = read(&disk, &config(), 0).unwrap();
    let sequences: Vec<u64> = visited.iter().map(|(sequence, _)| *sequence).collect();
    assert_eq!(sequences, [1, 4, 5, 6, 7, 8, 9]);
    assert_eq!(recovered.lost.len(), 1);
    assert!(segments(&disk).contains(&aside));
}

#[test]
fn a_bad_record_in_an_older_segment_is_damage_even_at_its_end() {
    let disk = three_segments();
    // Record 2 is the last one of the first segment that the second does not repeat.
    damage(&disk, 1, |bytes| bytes[offset(1) + 20] ^= 1);
    let refused = read(&disk, &config(), 0).unwrap_err();
    assert!(matches!(refused, RecoverError::Corrupt { sequence: Sequence(2), .. }), "{refused}");
    assert_eq!(read(&disk, &config(), 2).unwrap().1.len(), 6, "what is not read is not judged");
    let (recovered, visited) = read(&disk, &accepting(), 0).unwrap();
    assert_eq!(visited.len(), 7);
    assert_eq!((recovered.lost[0].first, recovered.lost[0].last), (Sequence(2), Sequence(2)));
}

#[test]
fn records_at_or_beyond_a_newer_segment_are_superseded_whatever_state_they_are_in() {
    let disk = three_segments();
    damage(&disk, 1, |bytes| bytes[offset(2)..].fill(0xee));
    assert_eq!(sequences_read(&disk), (1..=8).collect::<Vec<_>>());
}

#[test]
fn a_missing_file_is_a_gap() {
    let disk = three_segments();
    let names = segments(&disk);
    disk.remove(&names[1]).unwrap();
    let refused = read(&disk, &config(), 0).unwrap_err();
    // The third segment repeats record 6, so 4 and 5 are gone; record 3 is still in the first.
    assert!(
        matches!(refused, RecoverError::Gap { expected: Sequence(4), found: Sequence(6), .. }),
        "{refused}"
    );
    let (recovered, visited) = read(&disk, &accepting(), 0).unwrap();
    assert_eq!(visited.len(), 6);
    assert_eq!((recovered.lost[0].first, recovered.lost[0].last), (Sequence(4), Sequence(5)));
    drop(recovered);
    assert_eq!(read(&disk, &config(), 0).unwrap().1.len(), 6, "accepted once");
}

#[test]
fn a_missing_beginning_is_a_gap() {
    let disk = three_segments();
    disk.remove(&segments(&disk)[0]).unwrap();
    let refused = read(&disk, &config(), 0).unwrap_err();
    assert!(matches!(refused, RecoverError::Gap { expected: Sequence(1), found: Sequence(3), .. }));
    let (recovered, visited) = read(&disk, &accepting(), 0).unwrap();
    assert_eq!(visited.len(), 6);
    assert_eq!((recovered.lost[0].first, recovered.lost[0].last), (Sequence(1), Sequence(2)));
}

#[test]
fn a_journal_that_ends_before_its_reader_is_refused_and_its_sequences_are_not_given_again() {
    let disk = eight_records();
    let refused = read(&disk, &config(), 20).unwrap_err();
    assert!(matches!(refused, RecoverError::Behind { last: Sequence(8), from: Sequence(20) }));
    assert!(matches!(
        read(&MemoryDisk::new(0), &config(), 20).unwrap_err(),
        RecoverError::Behind { last: Sequence(0), from: Sequence(20) }
    ));
    let (recovered, _) = read(&disk, &accepting(), 20).unwrap();
    assert_eq!(recovered.next, Sequence(21));
    let mut rig = Rig::start(&disk, accepting(), recovered, 2);
    rig.commit(b"new");
    assert_eq!(rig.sequences(), [21]);
    drop(rig);
    disk.kill();
    let (_, visited) = read(&disk, &config(), 20).unwrap();
    assert_eq!(visited, [(21, b"new".to_vec())]);
}

#[test]
fn a_file_of_another_node_is_refused_whatever_is_accepted() {
    let disk = eight_records();
    let other = Config { node: 2, ..accepting() };
    let refused = read(&disk, &other, 0).unwrap_err();
    assert!(matches!(refused, RecoverError::WrongNode { found: 1, expected: 2, .. }), "{refused}");
}

#[test]
fn a_newer_format_is_refused_whatever_is_accepted() {
    let disk = eight_records();
    damage(&disk, 1, |bytes| {
        bytes[8] = 2;
        let crc = crc32c::crc32c(&bytes[..40]);
        bytes[40..44].copy_from_slice(&crc.to_le_bytes());
    });
    let refused = read(&disk, &accepting(), 0).unwrap_err();
    assert!(refused.to_string().contains("written by a newer lastmile"), "{refused}");
}

#[test]
fn epochs_may_rise_from_file_to_file_and_not_fall() {
    let disk = eight_records();
    let second = Config { epoch: 2, ..config() };
    let mut rig = Rig::with(&disk, second.clone());
    rig.commit(b"second epoch");
    drop(rig);
    disk.kill();
    let (recovered, visited) = read(&disk, &config(), 0).unwrap();
    assert_eq!((recovered.newest_epoch, visited.len()), (Some(2), 9));
    drop(recovered);
    damage(&disk, 1, |bytes| {
        bytes[12] = 3;
        let crc = crc32c::crc32c(&bytes[..40]);
        bytes[40..44].copy_from_slice(&crc.to_le_bytes());
    });
    let refused = read(&disk, &second, 0).unwrap_err();
    assert!(matches!(refused, RecoverError::EpochBack { found: 2, before: 3, .. }), "{refused}");
}

#[test]
fn a_damaged_header_is_refused_and_if_accepted_loses_that_file_alone() {
    let disk = three_segments();
    let names = segments(&disk);
    let mut bytes = disk.contents(&names[1]).unwrap();
    bytes[20] ^= 1;
    disk.put(&names[1], &bytes);
    let refused = read(&disk, &config(), 0).unwrap_err();
    assert!(matches!(&refused, RecoverError::HeaderDamaged { file, .. } if *file == names[1]), "{refused}");
    let (recovered, visited) = read(&disk, &accepting(), 0).unwrap();
    let sequences: Vec<u64> = visited.iter().map(|(sequence, _)| *sequence).collect();
    assert_eq!(sequences, [1, 2, 6, 7, 8]);
    assert_eq!((recovered.lost[0].first, recovered.lost[0].last), (Sequence(3), Sequence(5)));
}

#[test]
fn after_the_loss_of_the_newest_file_no_sequence_it_may_have_held_is_given_again() {
    let disk = eight_records();
    damage(&disk, 1, |bytes| bytes[0] ^= 1);
    let (recovered, visited) = read(&disk, &accepting(), 0).unwrap();
    assert!(visited.is_empty());
    assert_eq!(recovered.lost[0].last, recovered.next.before());
    assert!(recovered.next.0 > (SEGMENT - 4096) / 20);
    let next = recovered.next;
    let mut rig = Rig::start(&disk, accepting(), recovered, 2);
    rig.commit(b"new");
    drop(rig);
    disk.kill();
    let (_, visited) = read(&disk, &config(), 0).unwrap();
    assert_eq!(visited, [(next.0, b"new".to_vec())]);
}

#[test]
fn an_empty_file_and_a_renamed_file_are_refused_by_name() {
    let disk = eight_records();
    let bytes = disk.contents(&segment_name(1)).unwrap();
    disk.put(&segment_name(9), b"");
    let refused = read(&disk, &config(), 0).unwrap_err();
    assert!(matches!(&refused, RecoverError::EmptyFile { file } if *file == segment_name(9)));
    disk.put(&segment_name(9), &bytes);
    let refused = read(&disk, &config(), 0).unwrap_err();
    assert!(refused.to_string().contains("another name"), "{refused}");
    disk.remove(&segment_name(9)).unwrap();
    disk.put("0001.journal", &bytes);
    assert_eq!(sequences_read(&disk).len(), 8, "what is named otherwise is not ours");
}

#[test]
fn the_visitor_can_refuse_a_record() {
    let disk = eight_records();
    let refused = lastmile::journal::recover(&disk, &config(), Sequence(0), &mut |record| {
        if record.sequence == Sequence(3) { Err("unknown kind".into()) } else { Ok(()) }
    });
    assert!(matches!(refused, Err(RecoverError::Visit { sequence: Sequence(3), .. })));
}

#[test]
fn two_processes_cannot_have_one_directory() {
    let disk = MemoryDisk::new(0);
    let (held, _) = read(&disk, &config(), 0).unwrap();
    assert!(matches!(read(&disk, &config(), 0), Err(RecoverError::Lock(_))));
    drop(held);
    assert!(read(&disk, &config(), 0).is_ok());
}

#[test]
fn an_older_epoch_than_the_journal_has_cannot_write() {
    let disk = MemoryDisk::new(0);
    Rig::with(&disk, Config { epoch: 5, ..config() }).shut_down();
    let (recovered, _) = read(&disk, &config(), 0).unwrap();
    let surroundings = lastmile::journal::Surroundings {
        disk: std::sync::Arc::new(disk.clone()),
        clock: std::sync::Arc::new(lastmile::time::ManualClock::default()),
        entropy: std::sync::Arc::new(lastmile::ids::SeededEntropy::new(0)),
        sink: Box::new(super::support::Log(std::sync::Arc::default())),
    };
    let refused = lastmile::journal::Journal::stepped(config(), recovered, surroundings).err().unwrap();
    assert!(refused.to_string().contains("fenced off"), "{refused}");
}

#[test]
fn an_accepted_loss_stays_accepted_after_a_power_cut() {
    for seed in 0..10 {
        let disk = MemoryDisk::new(seed);
        let mut rig = Rig::new(&disk);
        for number in 1..=5 {
            rig.commit(&[number; 10]);
        }
        drop(rig);
        disk.kill();
        damage(&disk, 1, |bytes| bytes[offset(1) + 20] ^= 1);
        drop(read(&disk, &accepting(), 0).unwrap());
        disk.power_cut();
        assert_eq!(sequences_read(&disk), [1, 3, 4, 5]);
    }
}
