//! Files that are taken for models by mistake, told by their first and last bytes.

/// Where the names of an archive's entries are looked for, from its end.
const DIRECTORY_BYTES: usize = 1 << 20;

/// What the file with these bytes is, if it is of a known kind that holds no ONNX model, and what to do: the rest of a
/// sentence that starts with "it is". The first 512 bytes tell most kinds; of archives, the whole file tells more.
pub(crate) fn kind_of(bytes: &[u8]) -> Option<&'static str> {
    let starts = |mark: &[u8]| bytes.starts_with(mark);
    let at = |place: usize, mark: &[u8]| bytes.get(place..).is_some_and(|rest| rest.starts_with(mark));
    Some(if starts(b"version https://git-lfs.github.com/") {
        "a git-lfs pointer, and the file that it stands for was not downloaded; run `git lfs pull` in its repository"
    } else if starts(b"PK\x03\x04") || starts(b"PK\x05\x06") {
        archive_kind(bytes)
    } else if is_safetensors(bytes) {
        "a safetensors file, which holds weights without their network; export the network to ONNX"
    } else if at(128, b"DICM") {
        "a DICOM file; give a scan with -i and a model with -m"
    } else if at(344, b"n+1\0") || at(344, b"ni1\0") || at(4, b"n+2\0\r\n\x1a\n") {
        "a NIfTI file; give a scan with -i and a model with -m"
    } else if starts(b"NRRD000") {
        "an NRRD file; give a scan with -i and a model with -m"
    } else if starts(b"ObjectType") || starts(b"NDims") {
        "a MetaImage file; give a scan with -i and a model with -m"
    } else if starts(b"\x1f\x8b") {
        "compressed with gzip, as scans are; give a scan with -i and a model with -m"
    } else if starts(b"\x89HDF\r\n\x1a\n") {
        "an HDF5 file, as Keras writes them; export the network to ONNX"
    } else if at(4, b"TFL3") {
        "a TensorFlow Lite model; export the network to ONNX"
    } else if at(4, b"ORTM") {
        "in ONNX Runtime's own format; take the ONNX file that it was made from"
    } else if starts(b"GGUF") {
        "a GGUF file; export the network to ONNX"
    } else if matches!(bytes, [0x80, 2..=5, ..]) {
        "a pickle of Python, as old PyTorch checkpoints are; give the nnU-Net model folder that it belongs to, or export \
         the network to ONNX"
    } else if is_web_page(bytes) {
        "a web page; the download of the model failed"
    } else if starts(b"<?xml") {
        "an XML file; of OpenVINO's models, take the ONNX file that they were made from"
    } else if matches!(bytes.trim_ascii_start(), [b'{', ..]) {
        "a JSON file; give the model itself, or the nnU-Net model folder that the file lies in"
    } else {
        return None;
    })
}

/// A zip archive, by the names in its directory, which is at its end.
fn archive_kind(bytes: &[u8]) -> &'static str {
    let names = &bytes[bytes.len().saturating_sub(DIRECTORY_BYTES)..];
    let holds = |name: &[u8]| names.windows(name.len()).any(|window| window == name);
    if holds(b"constants.pkl") {
        "a TorchScript archive; export the network to ONNX"
    } else if holds(b"data.pkl") {
        "a PyTorch checkpoint; give the nnU-Net model folder that it belongs to, or export the network to ONNX"
    } else {
        "a zip archive; unpack it, and give the model or model folder inside"
    }
}

/// The length of a JSON text, and the text.
fn is_safetensors(bytes: &[u8]) -> bool {
    const MOST: u64 = 100 << 20;
    let Some((length, rest)) = bytes.split_first_chunk() else { return false };
    (2..=MOST).contains(&u64::from_le_bytes(*length)) && rest.starts_with(b"{\"")
}

fn is_web_page(bytes: &[u8]) -> bool {
    let start: Vec<u8> = bytes.trim_ascii_start().iter().take(14).map(u8::to_ascii_lowercase).collect();
    start.starts_with(b"<!doctype html") || start.starts_with(b"<html")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(place: usize, mark: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0; place];
        bytes.extend(mark);
        bytes
    }

    #[test]
    fn files_of_other_programs_are_called_by_their_names() {
        let archive = |entry: &str| [b"PK\x03\x04".as_slice(), &[0; 40], entry.as_bytes()].concat();
        for (bytes, says) in [
            (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n".to_vec(), "a git-lfs pointer"),
            (archive("net/data.pkl net/code/__torch__.py net/constants.pkl"), "a TorchScript archive"),
            (archive("archive/data.pkl"), "a PyTorch checkpoint"),
            (archive("Dataset4/plans.json"), "a zip archive"),
            ([&64u64.to_le_bytes(), b"{\"w\":{\"dtype\":\"F32\"".as_slice()].concat(), "a safetensors file"),
            (at(128, b"DICM"), "a DICOM file"),
            (at(344, b"n+1\0"), "a NIfTI file"),
            (at(4, b"n+2\0\r\n\x1a\n"), "a NIfTI file"),
            (b"NRRD0005\n".to_vec(), "an NRRD file"),
            (b"ObjectType = Image\n".to_vec(), "a MetaImage file"),
            (b"\x1f\x8b\x08".to_vec(), "compressed with gzip"),
            (b"\x89HDF\r\n\x1a\n".to_vec(), "an HDF5 file"),
            (at(4, b"TFL3"), "a TensorFlow Lite model"),
            (at(4, b"ORTM"), "in ONNX Runtime's own format"),
            (b"\x80\x02\x8a\x0al".to_vec(), "a pickle of Python"),
            (b"\n<!DOCTYPE HTML>".to_vec(), "a web page"),
            (b"<?xml version=\"1.0\"?><net>".to_vec(), "an XML file"),
            (b" {\"a\": 1}".to_vec(), "a JSON file"),
        ] {
            assert!(kind_of(&bytes).is_some_and(|kind| kind.starts_with(says)), "{says}: {:?}", kind_of(&bytes));
        }
        for bytes in [b"".as_slice(), b"hello", b"\x08\x08\x12\x07pytorch", &[0; 600]] {
            assert_eq!(kind_of(bytes), None);
        }
    }
}
