//! The simulated disk keeps, loses and fails as it says.

use super::*;
use crate::disk::durable;

fn read(disk: &SimulatedDisk, path: &str) -> Option<Vec<u8>> {
    durable::read_file(disk, Path::new(path), 1 << 20).ok().flatten()
}

#[test]
fn what_was_flushed_is_in_every_image_and_what_was_not_in_some() {
    let disk = SimulatedDisk::new(7);
    let file = disk.create(Path::new("/log")).unwrap();
    file.write_at(0, &[1; 2048]).unwrap();
    file.sync_data().unwrap();
    disk.sync_dir(Path::new("/")).unwrap();
    file.write_at(1024, &[2; 2048]).unwrap();
    let images = disk.images_after_power_loss(64);
    let found: BTreeSet<Vec<u8>> =
        images.iter().map(|image| read(image, "/log").unwrap()).collect();
    assert!(found.iter().all(|bytes| bytes[..1024] == [1; 1024]), "flushed bytes stay");
    assert!(found.contains(&vec![1; 2048]), "all lost");
    assert!(found.len() > 4, "torn in several ways: {}", found.len());
}

#[test]
fn a_name_that_was_not_flushed_may_be_missing() {
    let disk = SimulatedDisk::new(8);
    let file = disk.create(Path::new("/a")).unwrap();
    file.write_at(0, b"x").unwrap();
    file.sync_data().unwrap();
    let images = disk.images_after_power_loss(2);
    assert_eq!(read(&images[0], "/a"), None);
    assert_eq!(read(&images[1], "/a").as_deref(), Some(&b"x"[..]));
}

#[test]
fn a_failed_flush_loses_the_bytes_although_they_can_still_be_read() {
    let disk = SimulatedDisk::new(9);
    let file = disk.create(Path::new("/a")).unwrap();
    disk.sync_dir(Path::new("/")).unwrap();
    file.write_at(0, b"mail").unwrap();
    disk.inject(Fault::Flush(1));
    assert!(file.sync_data().is_err());
    file.sync_data().expect("the second flush lies, as Linux does");
    assert_eq!(read(&disk, "/a").as_deref(), Some(&b"mail"[..]));
    assert_eq!(read(&disk.images_after_power_loss(2)[1], "/a").as_deref(), Some(&b""[..]));
    file.forget_cached().unwrap();
    assert_eq!(read(&disk, "/a").as_deref(), Some(&b""[..]));
}

#[test]
fn faults_meet_the_call_they_were_meant_for() {
    let disk = SimulatedDisk::new(10);
    let file = disk.create(Path::new("/a")).unwrap();
    disk.inject(Fault::Write(2));
    disk.inject(Fault::ShortWrite(3));
    file.write_at(0, b"12").unwrap();
    assert!(file.write_at(0, b"34").is_err());
    assert!(file.write_at(0, b"56").is_err());
    assert_eq!(read(&disk, "/a").as_deref(), Some(&b"52"[..]));
    disk.set_capacity_bytes(4);
    let error = file.write_at(2, b"789").unwrap_err();
    assert_eq!(error.cause.kind(), io::ErrorKind::StorageFull);
    disk.cut_power_at_call(disk.calls() + 1);
    assert!(file.sync_data().is_err());
    assert!(file.read_at(0, &mut [0]).is_err(), "nothing works without power");
}

#[test]
fn a_replaced_file_is_the_old_or_the_new_one_wherever_the_power_is_cut() {
    for call in 1.. {
        let disk = SimulatedDisk::new(call);
        let path = Path::new("/store/config");
        durable::create_dir_durable(&disk, Path::new("/store")).unwrap();
        durable::replace_file(&disk, path, &[1; 3000]).unwrap();
        disk.cut_power_at_call(disk.calls() + call);
        let done = durable::replace_file(&disk, path, &[2; 5000]).is_ok();
        for image in disk.images_after_power_loss(32) {
            let found = read(&image, "/store/config").expect("it has a content");
            let is_new = found == [2; 5000];
            assert!(is_new || (!done && found == [1; 3000]), "cut at call {call}");
            durable::replace_file(&image, path, b"3").expect("leftovers do no harm");
        }
        if done {
            break;
        }
    }
}
