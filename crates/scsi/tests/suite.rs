//! What conformance suites for initiators ask of a disk, against one in memory: every command that
//! needs the medium, at both ends of it, in every length from 1 to 256 blocks.

mod disk;

use disk::{BLOCK, BLOCKS, Disk, sixteen};

const READ: u8 = 0x88;
const WRITE: u8 = 0x8a;
const COMPARE_AND_WRITE: u8 = 0x89;
const OR_WRITE: u8 = 0x8b;
const WRITE_AND_VERIFY: u8 = 0x8e;
const VERIFY: u8 = 0x8f;
const WRITE_SAME: u8 = 0x93;
const MISCOMPARE: (u8, u8, u8) = (0xe, 0x1d, 0x00);

/// Lengths from 1 to 256 blocks, each at the beginning and at the end.
fn places() -> impl Iterator<Item = (usize, usize)> {
    (1..=256).flat_map(|blocks| [(0, blocks), (BLOCKS - blocks, blocks)])
}

fn read(disk: &mut Disk, lba: usize, blocks: usize) -> Vec<u8> {
    disk.send(&sixteen(READ, 0, lba, blocks), &[]).good()
}

fn write(disk: &mut Disk, lba: usize, data: &[u8]) {
    disk.send(&sixteen(WRITE, 0, lba, data.len() / BLOCK), data).good();
}

#[test]
fn what_was_written_is_read_by_every_form_of_read() {
    let mut disk = Disk::new();
    for (lba, blocks) in places() {
        let data = vec![u8::try_from(blocks % 255).unwrap() + 1; blocks * BLOCK];
        disk.send(&sixteen(WRITE_AND_VERIFY, 0x02, lba, blocks), &data).good();
        assert_eq!(read(&mut disk, lba, blocks), data);
        let (address, length) = (u32::try_from(lba).unwrap(), u32::try_from(blocks).unwrap());
        let [a, b, c, d] = address.to_be_bytes();
        let [e, f, g, h] = length.to_be_bytes();
        assert_eq!(disk.send(&[0xa8, 0, a, b, c, d, e, f, g, h, 0, 0], &[]).good(), data);
        assert_eq!(disk.send(&[0x28, 0, a, b, c, d, 0, g, h, 0], &[]).good(), data);
        // 256 blocks are 0 in the oldest form, which is just their low byte.
        assert_eq!(disk.send(&[0x08, b, c, d, h, 0], &[]).good(), data);
    }
}

#[test]
fn a_compare_and_write_that_matches_writes_and_one_that_does_not_changes_nothing() {
    let mut disk = Disk::new();
    for (lba, blocks) in places().filter(|(_, blocks)| *blocks < 256) {
        let (old, new) = (vec![b'A'; blocks * BLOCK], vec![b'B'; blocks * BLOCK]);
        let mut cdb = sixteen(COMPARE_AND_WRITE, 0, lba, 0);
        cdb[13] = u8::try_from(blocks).unwrap();
        write(&mut disk, lba, &old);
        let mut other = old.clone();
        other[blocks * BLOCK - 27] = b'C';
        let ended = disk.send(&cdb, &[&other[..], &new].concat());
        assert_eq!(ended.sense(), MISCOMPARE);
        assert_eq!(read(&mut disk, lba, blocks), old);
        disk.send(&cdb, &[&old[..], &new].concat()).good();
        assert_eq!(read(&mut disk, lba, blocks), new);
    }
}

#[test]
fn a_miscompare_is_told_at_the_first_byte_that_differs() {
    let mut disk = Disk::new();
    let mut cdb = sixteen(COMPARE_AND_WRITE, 0, 0, 0);
    cdb[13] = 1;
    for at in 0..BLOCK {
        let mut halves = vec![0; 2 * BLOCK];
        halves[at..BLOCK].fill(b'Z');
        let ended = disk.send(&cdb, &halves);
        assert_eq!(ended.sense(), MISCOMPARE);
        let sense = ended.response.sense.unwrap();
        let told = u32::from_be_bytes(sense.as_bytes()[3..7].try_into().unwrap());
        assert_eq!((sense.as_bytes()[0], told as usize), (0xf0, at));
    }
}

#[test]
fn an_or_write_keeps_every_bit_that_was_set() {
    let mut disk = Disk::new();
    for (lba, blocks) in places() {
        write(&mut disk, lba, &vec![0; blocks * BLOCK]);
        for (bits, expected) in [(0xa5, 0xa5), (0x5a, 0xff)] {
            let data = vec![bits; blocks * BLOCK];
            disk.send(&sixteen(OR_WRITE, 0, lba, blocks), &data).good();
            assert_eq!(read(&mut disk, lba, blocks), vec![expected; blocks * BLOCK]);
        }
    }
}

#[test]
fn a_verification_finds_one_changed_byte_and_without_data_finds_none() {
    let mut disk = Disk::new();
    for (lba, blocks) in places() {
        let mut data = read(&mut disk, lba, blocks);
        disk.send(&sixteen(VERIFY, 0x02, lba, blocks), &data).good();
        data[(blocks * 37) % (blocks * BLOCK)] ^= b'X';
        let ended = disk.send(&sixteen(VERIFY, 0x02, lba, blocks), &data);
        assert_eq!(ended.sense(), MISCOMPARE);
        disk.send(&sixteen(VERIFY, 0x00, lba, blocks), &[]).good();
        disk.send(&sixteen(VERIFY, 0x06, lba, blocks), &[0; BLOCK]).good();
        let ended = disk.send(&sixteen(VERIFY, 0x06, lba, blocks), &[1; BLOCK]);
        assert_eq!(ended.sense(), MISCOMPARE);
    }
}

#[test]
fn a_write_same_fills_its_blocks_and_nothing_else() {
    let mut disk = Disk::new();
    for (lba, blocks) in places() {
        let block = [u8::try_from(blocks % 256).unwrap(); BLOCK];
        disk.send(&sixteen(WRITE_SAME, 0, lba, blocks), &block).good();
        assert_eq!(read(&mut disk, lba, blocks), block.repeat(blocks));
        let outside = if lba == 0 { blocks } else { lba - 1 };
        assert_eq!(read(&mut disk, outside, 1), [0; BLOCK]);
        disk.send(&sixteen(WRITE_SAME, 0, lba, blocks), &[0; BLOCK]).good();
    }
}

#[test]
fn what_was_unmapped_reads_as_zeroes_however_it_lies() {
    let mut disk = Disk::new();
    for (lba, blocks) in places() {
        for flags in [0x08, 0x09] {
            write(&mut disk, lba, &vec![0xff; blocks * BLOCK]);
            let data: &[u8] = if flags == 0x08 { &[0; BLOCK] } else { &[] };
            disk.send(&sixteen(WRITE_SAME, flags, lba, blocks), data).good();
            assert_eq!(read(&mut disk, lba, blocks), vec![0; blocks * BLOCK]);
        }
        write(&mut disk, lba, &vec![0xff; blocks * BLOCK]);
        unmap(&mut disk, &[(lba, blocks)]);
        assert_eq!(read(&mut disk, lba, blocks), vec![0; blocks * BLOCK]);
    }
}

#[test]
fn data_that_are_not_zeroes_are_written_even_if_they_might_be_unmapped() {
    let mut disk = Disk::new();
    for blocks in 1..8 {
        disk.send(&sixteen(WRITE_SAME, 0x08, 8 - blocks, blocks), &[0xa6; BLOCK]).good();
        assert_eq!(read(&mut disk, 8 - blocks, blocks), vec![0xa6; blocks * BLOCK]);
    }
}

#[test]
fn as_many_extents_as_are_told_are_unmapped_at_once() {
    let mut disk = Disk::new();
    write(&mut disk, 0, &vec![b'a'; 256 * BLOCK]);
    let extents: Vec<_> = (0..256).map(|lba| (lba, 1)).collect();
    unmap(&mut disk, &extents);
    assert_eq!(read(&mut disk, 0, 256), vec![0; 256 * BLOCK]);
}

#[test]
fn the_status_of_a_block_tells_whether_it_has_space() {
    let mut disk = Disk::new();
    for lba in (0..256).step_by(8) {
        write(&mut disk, 0, &vec![b'A'; 264 * BLOCK]);
        unmap(&mut disk, &[(lba, 8)]);
        assert_eq!(status(&mut disk, lba), (lba, 8, 1));
        assert_eq!(status(&mut disk, lba + 8), (lba + 8, 264 - lba - 8, 0));
        assert_eq!(status(&mut disk, lba + 3), (lba + 3, 5, 1));
    }
}

#[test]
fn a_write_with_too_few_data_leaves_the_rest_as_it_was() {
    let mut disk = Disk::new();
    write(&mut disk, 0, &[b'a'; 2 * BLOCK]);
    let ended = disk.send(&sixteen(WRITE, 0, 0, 2), &[b'b'; BLOCK]);
    assert_eq!(ended.response.transfer.data_out, 2 * BLOCK as u64);
    ended.good();
    let expected = [[b'b'; BLOCK], [b'a'; BLOCK]].concat();
    assert_eq!(read(&mut disk, 0, 2), expected);
    let ended = disk.send(&sixteen(WRITE, 0, 0, 2), &[b'c'; 200]);
    assert_eq!(ended.sense(), (5, 0x0e, 0x03));
    assert_eq!(read(&mut disk, 0, 2), expected);
    let ended = disk.send(&sixteen(WRITE, 0, 0, 1), &[b'd'; 10_000]);
    assert_eq!(ended.response.transfer.data_out, BLOCK as u64);
    ended.good();
    assert_eq!(read(&mut disk, 0, 2), [[b'd'; BLOCK], [b'a'; BLOCK]].concat());
}

/// UNMAP of these blocks.
fn unmap(disk: &mut Disk, extents: &[(usize, usize)]) {
    let length = u16::try_from(extents.len() * 16).unwrap();
    let mut list = (length + 6).to_be_bytes().to_vec();
    list.extend(length.to_be_bytes());
    list.extend([0; 4]);
    for (lba, blocks) in extents {
        list.extend((*lba as u64).to_be_bytes());
        list.extend(u32::try_from(*blocks).unwrap().to_be_bytes());
        list.extend([0; 4]);
    }
    let [high, low] = (length + 8).to_be_bytes();
    disk.send(&[0x42, 0, 0, 0, 0, 0, 0, high, low, 0], &list).good();
}

/// The first descriptor of GET LBA STATUS: address, blocks and state.
fn status(disk: &mut Disk, lba: usize) -> (usize, usize, u8) {
    let answer = disk.send(&sixteen(0x9e, 0x12, lba, 24), &[]).good();
    let at = u64::from_be_bytes(answer[8..16].try_into().unwrap());
    let blocks = u32::from_be_bytes(answer[16..20].try_into().unwrap());
    (usize::try_from(at).unwrap(), blocks as usize, answer[20])
}
