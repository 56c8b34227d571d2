//! Files that are named by their content, for errors that say what a file is instead of what it is not.

use crate::error::FormatError;
use crate::stream::{Packing, Stream};
use std::path::Path;

/// What every version of a git-lfs pointer starts with.
const LFS_POINTER: &[u8] = b"version https://git-lfs.github.com/";

/// What a file is, by its first bytes: an article and the name that people know, with what to do where that is not
/// plain. `None` where the bytes tell nothing. 348 bytes suffice.
///
/// Formats that this crate reads are named too: a file may have the wrong ending.
pub fn recognise(start: &[u8]) -> Option<&'static str> {
    const ANNEX_POINTER: &[u8] = b"/annex/objects/";
    let at = |offset: usize, mark: &[u8]| start.get(offset..).is_some_and(|rest| rest.starts_with(mark));
    let by_mark: &[(usize, &[u8], &str)] = &[
        (128, b"DICM", "a DICOM file (convert the series to NIfTI, for example with dcm2niix)"),
        (0, LFS_POINTER, "a git-lfs pointer, which stands for a file that was not fetched (run: git lfs pull)"),
        (0, ANNEX_POINTER, "a git-annex pointer, which stands for a file that was not fetched (run: git annex get)"),
        (0, b"NRRD", "an NRRD file (its name should end with .nrrd)"),
        (0, b"ObjectType", "a MetaImage file (its name should end with .mha or .mhd)"),
        (0, b"PK\x03\x04", "a zip archive (TorchScript and PyTorch files are such archives too)"),
        (0, b"\x89PNG", "a PNG picture"),
        (0, b"\xff\xd8\xff", "a JPEG picture"),
        (0, b"II*\0", "a TIFF picture"),
        (0, b"MM\0*", "a TIFF picture"),
        (0, b"\x89HDF\r\n\x1a\n", "an HDF5 file (MINC 2 files are such files too)"),
        (0, b"CDF\x01", "a netCDF file (MINC 1 files are such files too)"),
        (0, b"\x93NUMPY", "a NumPy array"),
        (0, b"\x1f\x8b", "compressed twice with gzip (decompress it once)"),
        (0, b"BZh", "compressed with bzip2 (decompress it, or compress it with gzip)"),
        (0, b"\xfd7zXZ", "compressed with xz (decompress it, or compress it with gzip)"),
        (0, b"\x28\xb5\x2f\xfd", "compressed with zstd (decompress it, or compress it with gzip)"),
        (0, b"7z\xbc\xaf", "a 7-zip archive"),
        (0, b"Rar!", "a RAR archive"),
        (0, b"%PDF", "a PDF document"),
        // The magic number of GIPL, at the end of its header.
        (252, b"\x2a\xe3\x89\xb8", "a GIPL file (convert it to NIfTI)"),
        (252, b"\xef\xff\xe9\xb0", "a GIPL file (convert it to NIfTI)"),
        (257, b"ustar", "a tar archive"),
    ];
    if let Some((.., name)) = by_mark.iter().find(|(offset, mark, _)| at(*offset, mark)) {
        return Some(name);
    }
    match start {
        [] => Some("an empty file"),
        [0x5c, 1, 0, 0, ..] | [0, 0, 1, 0x5c, ..] | [0x1c, 2, 0, 0, ..] | [0, 0, 2, 0x1c, ..] => {
            Some("a NIfTI or ANALYZE file (its name should end with .nii, .nii.gz or .hdr)")
        }
        // Version 1 and a width of at most 65535, both big endian.
        [0, 0, 0, 1, 0, 0, ..] if start.len() >= 284 => Some("a FreeSurfer MGH file (its name should end with .mgz)"),
        _ if is_page(start) => Some("a web page, as a failed download leaves one"),
        _ if start.iter().all(|byte| *byte == 0) => Some("a file of zeros, as a transfer that broke off leaves one"),
        _ => None,
    }
}

/// What a file is that should begin with lines of text, by its first bytes.
pub(crate) fn recognise_file(path: &Path) -> Result<Option<&'static str>, FormatError> {
    let mut start = Vec::new();
    let mut stream = Stream::of_start(path)?;
    if stream.packing() == Packing::Gzip {
        return Ok(Some("compressed with gzip as a whole (decompress it)"));
    }
    stream.extend(&mut start, 348, path)?;
    Ok(recognise(&start))
}

fn is_page(start: &[u8]) -> bool {
    let text = start.trim_ascii_start();
    [&b"<!doctype html"[..], b"<html"]
        .iter()
        .any(|mark| text.get(..mark.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(mark)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_files_are_called_by_their_names() {
        let mut dicom = [0; 200];
        dicom[128..132].copy_from_slice(b"DICM");
        let pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12345\n";
        for (bytes, name) in [
            (&dicom[..], "DICOM"),
            (pointer, "git-lfs pointer"),
            (b"/annex/objects/MD5E-s3--00.nii.gz\n", "git-annex pointer"),
            (b"PK\x03\x04\x00\x00", "TorchScript"),
            (b"NRRD0004\n", "NRRD"),
            (b"ObjectType = Image\n", "MetaImage"),
            (b"\x1f\x8b\x08", "twice"),
            (b"\n <!DOCTYPE HTML>", "web page"),
            (b"", "empty"),
            (&[0; 400], "zeros"),
        ] {
            assert!(recognise(bytes).is_some_and(|found| found.contains(name)), "{name}: {:?}", recognise(bytes));
        }
        assert_eq!(recognise(b"some words of a letter"), None);
        assert_eq!(recognise(&[7; 132]), None);
    }
}
