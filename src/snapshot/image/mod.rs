//! The image: a node-local file from which a node starts when the database is slow, far or dead.
//!
//! It holds the compiled objects of one snapshot. A node reads it at start, then catches up from storage if it can.
//!
//! ```text
//! header   magic 8 | version 4 | seq 8 | CRC-32C of these 4
//! block    length 4 | CRC-32C of the sealed bytes 4 | sealed bytes
//!          clear: tag 1 (0 records, 1 end) | records, or the number of all records 8
//! ```
//!
//! Numbers are big-endian. Each block is sealed as a whole, bound to the header and its own number, so blocks cannot be
//! swapped, dropped or taken from another image; the last one says that it is the last.
//!
//! Invariants: a file under its final name is complete (written under another name, synced, renamed); it can be read by
//! its owner only; secrets in it are sealed. A file that fails any check is an error and yields nothing: the caller reads
//! storage instead. There is no migration between versions: the image is a copy, the database is the original.

mod definition;
mod record;

use std::fs::{File, OpenOptions};
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::Snapshot;
use super::build::Builder;
use crate::limits::{SNAPSHOT_IMAGE_BLOCK_BYTES, SNAPSHOT_IMAGE_SEALED_BYTES_MAX};

/// Version of the format written, and the only one read.
pub const VERSION: u32 = 2;

const MAGIC: [u8; 8] = *b"LMSTATE\n";
const HEADER_BYTES: usize = 24;
const TAG_RECORDS: u8 = 0;
const TAG_END: u8 = 1;

/// Authenticated encryption of one block.
pub trait Seal {
    /// Seals `clear`, binding it to `aad`.
    fn seal(&self, aad: &[u8], clear: &[u8]) -> Vec<u8>;
    /// Opens what [`Seal::seal`] made with the same `aad`.
    fn open(&self, aad: &[u8], sealed: &[u8]) -> Option<Vec<u8>>;
}

/// Why an image could not be written or read.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// The file system refused.
    #[error("cannot {doing} the snapshot image {}", path.display())]
    Io {
        /// What was being done.
        doing: &'static str,
        /// Which file.
        path: PathBuf,
        /// The system's own error.
        #[source]
        source: io::Error,
    },
    /// Written by another version of the program.
    #[error("the snapshot image has version {found}, this lastmile reads {VERSION}; it will be written anew")]
    Version {
        /// Version found.
        found: u32,
    },
    /// The content fails a check.
    #[error(
        "the snapshot image is damaged at block {block}: {why}; delete it, the state is read from the database"
    )]
    Damaged {
        /// Number of the block, the header being 0.
        block: u64,
        /// Which check failed.
        why: &'static str,
    },
    /// The stream behind the image failed.
    #[error("the snapshot image cannot be transferred")]
    Stream(#[from] io::Error),
}

/// Writes the image of `snapshot` to `path`, replacing what is there only when complete. Returns its size in bytes.
pub fn write(path: &Path, snapshot: &Snapshot, seal: &dyn Seal) -> Result<u64, ImageError> {
    let temporary = path.with_added_extension("new");
    let failed = |doing, path: &Path, source| ImageError::Io { doing, path: path.to_owned(), source };
    // What an interrupted writer left may have another owner or mode.
    match std::fs::remove_file(&temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(failed("clear the way for", &temporary, error));
        }
        _ => {}
    }
    let file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&temporary)
        .map_err(|error| failed("create", &temporary, error))?;
    let mut out = BufWriter::new(file);
    let bytes = write_to(&mut out, snapshot, seal)?;
    let file = out.into_inner().map_err(|error| failed("write", &temporary, error.into_error()))?;
    file.sync_all().map_err(|error| failed("sync", &temporary, error))?;
    std::fs::rename(&temporary, path).map_err(|error| failed("rename", path, error))?;
    // Without this the rename itself may be lost with the power.
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    File::open(directory.unwrap_or(Path::new(".")))
        .and_then(|directory| directory.sync_all())
        .map_err(|error| failed("sync the directory of", path, error))?;
    Ok(bytes)
}

/// Reads the image at `path` into a snapshot.
pub fn read(path: &Path, seal: &dyn Seal) -> Result<Snapshot, ImageError> {
    let file =
        File::open(path).map_err(|source| ImageError::Io { doing: "open", path: path.to_owned(), source })?;
    read_from(&mut BufReader::new(file), seal)
}

/// Writes an image into any stream. Returns its size in bytes.
pub fn write_to(out: &mut dyn Write, snapshot: &Snapshot, seal: &dyn Seal) -> Result<u64, ImageError> {
    let header = header(snapshot.seq());
    out.write_all(&header)?;
    let mut writer = BlockWriter {
        out,
        seal,
        header,
        block: 1,
        written: HEADER_BYTES as u64,
        clear: Zeroizing::new(Vec::with_capacity(SNAPSHOT_IMAGE_BLOCK_BYTES * 2)),
    };
    let mut records: u64 = 0;
    writer.start(TAG_RECORDS);
    for record in record::all(snapshot) {
        record::encode(&record, &mut writer.clear)
            .ok_or(ImageError::Damaged { block: writer.block, why: "a record cannot be encoded" })?;
        records += 1;
        if writer.clear.len() >= SNAPSHOT_IMAGE_BLOCK_BYTES {
            writer.flush()?;
            writer.start(TAG_RECORDS);
        }
    }
    writer.flush()?;
    writer.start(TAG_END);
    writer.clear.extend_from_slice(&records.to_be_bytes());
    writer.flush()?;
    writer.out.flush()?;
    Ok(writer.written)
}

struct BlockWriter<'a> {
    out: &'a mut dyn Write,
    seal: &'a dyn Seal,
    header: [u8; HEADER_BYTES],
    block: u64,
    written: u64,
    clear: Zeroizing<Vec<u8>>,
}

impl BlockWriter<'_> {
    fn start(&mut self, tag: u8) {
        self.clear.clear();
        self.clear.push(tag);
    }

    fn flush(&mut self) -> Result<(), ImageError> {
        let sealed = self.seal.seal(&aad(&self.header, self.block), &self.clear);
        if sealed.len() > SNAPSHOT_IMAGE_SEALED_BYTES_MAX {
            return Err(ImageError::Damaged {
                block: self.block,
                why: "a block is too large to be read back",
            });
        }
        self.out.write_all(&(sealed.len() as u32).to_be_bytes())?;
        self.out.write_all(&crc32c::crc32c(&sealed).to_be_bytes())?;
        self.out.write_all(&sealed)?;
        self.written += sealed.len() as u64 + 8;
        self.block += 1;
        Ok(())
    }
}

/// Reads an image from any stream, to its end.
pub fn read_from(input: &mut dyn Read, seal: &dyn Seal) -> Result<Snapshot, ImageError> {
    let mut header = [0; HEADER_BYTES];
    fill(input, &mut header, 0)?;
    let seq = check_header(&header)?;
    let mut builder = Builder::new();
    let mut sealed = Vec::new();
    let (mut block, mut records) = (1, 0);
    loop {
        let damaged = |why| ImageError::Damaged { block, why };
        read_block(input, &mut sealed, block)?;
        let clear = seal
            .open(&aad(&header, block), &sealed)
            .map(Zeroizing::new)
            .ok_or_else(|| damaged("it was not sealed here"))?;
        let (tag, body) = clear.split_first().ok_or_else(|| damaged("it is empty"))?;
        match *tag {
            TAG_RECORDS => {
                records += decode_all(body, &mut builder).ok_or_else(|| damaged("a record is malformed"))?;
            }
            TAG_END if *body == u64::to_be_bytes(records) => break,
            _ => return Err(damaged("records are missing")),
        }
        block += 1;
    }
    if input.read(&mut [0])? != 0 {
        return Err(ImageError::Damaged { block, why: "something follows its end" });
    }
    Ok(builder.finish(seq))
}

fn decode_all(mut body: &[u8], builder: &mut Builder) -> Option<u64> {
    let mut records = 0;
    while !body.is_empty() {
        body = record::decode(body, builder)?;
        records += 1;
    }
    Some(records)
}

fn read_block(input: &mut dyn Read, sealed: &mut Vec<u8>, block: u64) -> Result<(), ImageError> {
    let damaged = |why| ImageError::Damaged { block, why };
    let (mut length, mut crc) = ([0; 4], [0; 4]);
    fill(input, &mut length, block)?;
    fill(input, &mut crc, block)?;
    let length = u32::from_be_bytes(length) as usize;
    if length > SNAPSHOT_IMAGE_SEALED_BYTES_MAX {
        return Err(damaged("its length is impossible"));
    }
    sealed.resize(length, 0);
    fill(input, sealed, block)?;
    if crc32c::crc32c(sealed) != u32::from_be_bytes(crc) {
        return Err(damaged("its checksum is wrong"));
    }
    Ok(())
}

fn fill(input: &mut dyn Read, buffer: &mut [u8], block: u64) -> Result<(), ImageError> {
    input.read_exact(buffer).map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof => ImageError::Damaged { block, why: "the file ends too early" },
        _ => ImageError::Stream(error),
    })
}

fn header(seq: u64) -> [u8; HEADER_BYTES] {
    let mut header = [0; HEADER_BYTES];
    header[..8].copy_from_slice(&MAGIC);
    header[8..12].copy_from_slice(&VERSION.to_be_bytes());
    header[12..20].copy_from_slice(&seq.to_be_bytes());
    let crc = crc32c::crc32c(&header[..20]);
    header[20..].copy_from_slice(&crc.to_be_bytes());
    header
}

/// The seq of the image.
fn check_header(found: &[u8; HEADER_BYTES]) -> Result<u64, ImageError> {
    let damaged = |why| ImageError::Damaged { block: 0, why };
    let [m0, m1, m2, m3, m4, m5, m6, m7, v0, v1, v2, v3, rest @ ..] = *found;
    if [m0, m1, m2, m3, m4, m5, m6, m7] != MAGIC {
        return Err(damaged("this is not a snapshot image"));
    }
    // The version comes before the checksum: a later version may check in another way.
    let version = u32::from_be_bytes([v0, v1, v2, v3]);
    if version != VERSION {
        return Err(ImageError::Version { found: version });
    }
    let [s0, s1, s2, s3, s4, s5, s6, s7, ..] = rest;
    let seq = u64::from_be_bytes([s0, s1, s2, s3, s4, s5, s6, s7]);
    if header(seq) != *found {
        return Err(damaged("its checksum is wrong"));
    }
    Ok(seq)
}

/// What a block is bound to: its image and its place in it.
fn aad(header: &[u8; HEADER_BYTES], block: u64) -> [u8; HEADER_BYTES + 8] {
    let mut aad = [0; HEADER_BYTES + 8];
    aad[..HEADER_BYTES].copy_from_slice(header);
    aad[HEADER_BYTES..].copy_from_slice(&block.to_be_bytes());
    aad
}
