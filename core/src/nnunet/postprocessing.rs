//! `postprocessing.pkl`: which structures nnU-Net reduces to their largest component, read as data.
//!
//! nnU-Net's `find_best_configuration` tries on its validation cases what improves the result, and writes what did: a pair
//! of lists, functions of Python and the keyword arguments of each. Only one of nnU-Net's functions does this, and no other
//! is understood.

use super::error::NnUnetError;
use super::pickle::{self, Node, NodeId, Pickle};
use crate::postprocess::KeepLargest;
use std::collections::BTreeSet;
use std::fs::File;
use std::io::Read;
use std::path::Path;

/// The file's name in a model folder, beside `plans.json` or in `crossval_results_folds_...`.
pub const POSTPROCESSING_FILE: &str = "postprocessing.pkl";
/// The function that keeps the largest component.
const KEEP_LARGEST: &str =
    "nnunetv2.postprocessing.remove_connected_components.remove_all_but_largest_component_from_segmentation";

/// Most steps, and most labels of one: values can be repeated at little cost to the file.
const MOST: usize = 1 << 16;

/// Reads the steps of a `postprocessing.pkl`, which are applied one after the other; their labels ascend. There are none where
/// nothing improved the result.
///
/// # Errors
/// The file cannot be read, is no such file, or asks for something else than the largest component.
pub fn read_postprocessing(path: &Path) -> Result<Vec<KeepLargest>, NnUnetError> {
    let io = |source| NnUnetError::Io { path: path.to_path_buf(), source };
    let mut bytes = Vec::new();
    File::open(path).map_err(io)?.take(pickle::MAX_BYTES as u64 + 1).read_to_end(&mut bytes).map_err(io)?;
    let pickle = Pickle::parse(&bytes).map_err(|source| NnUnetError::Pickle { path: path.to_path_buf(), source })?;
    steps(&pickle).map_err(|what| NnUnetError::Unsupported { path: path.to_path_buf(), what })
}

fn steps(pickle: &Pickle) -> Result<Vec<KeepLargest>, String> {
    let pair = || {
        let [functions, arguments] = *pickle.items(pickle.root())? else { return None };
        let (functions, arguments) = (pickle.items(functions)?, pickle.items(arguments)?);
        (functions.len() == arguments.len() && functions.len() <= MOST).then_some((functions, arguments))
    };
    let (functions, arguments) =
        pair().ok_or("it should hold a list of functions and a list of as many arguments, as nnU-Net writes them")?;
    functions.iter().zip(arguments).map(|(function, arguments)| step(pickle, *function, *arguments)).collect()
}

fn step(pickle: &Pickle, function: NodeId, arguments: NodeId) -> Result<KeepLargest, String> {
    match pickle.get(function) {
        Node::Opaque(name) if **name == *KEEP_LARGEST => {}
        Node::Opaque(name) => {
            return Err(format!("the postprocessing {name} is not supported; keeping the largest component is"));
        }
        other => return Err(format!("a postprocessing function should be in the place of {}", other.kind())),
    }
    let Node::Dict(pairs) = pickle.get(arguments) else {
        return Err(format!(
            "the arguments of a function should be a dictionary, not {}",
            pickle.get(arguments).kind()
        ));
    };
    let known = |key: NodeId| matches!(pickle.text(key), Some("labels_or_regions" | "background_label"));
    if let Some((key, _)) = pairs.iter().find(|(key, _)| !known(*key)) {
        let name = pickle.text(*key).unwrap_or("that is no text");
        return Err(format!("the argument {name} of keeping the largest component is not supported"));
    }
    let value = |id: NodeId| u16::try_from(pickle.int(id)?).ok();
    let labels = pickle.entry(arguments, "labels_or_regions").and_then(|id| labels(pickle, id));
    let labels = labels
        .filter(|labels| !labels.is_empty())
        .ok_or("`labels_or_regions` should be a label from 0 to 65535, a region, or a list of these")?;
    let background = match pickle.entry(arguments, "background_label") {
        None => 0,
        Some(id) => value(id).ok_or("`background_label` should be a label from 0 to 65535")?,
    };
    Ok(KeepLargest { labels: labels.into_iter().collect(), background })
}

/// The values of a label, of a region (a tuple of labels), or of a list of both.
fn labels(pickle: &Pickle, id: NodeId) -> Option<BTreeSet<u16>> {
    let mut values = Vec::new();
    let mut add = |id: NodeId| {
        match pickle.int(id) {
            Some(value) => values.push(value),
            None if pickle.items(id).is_some_and(|items| items.len() > MOST) => return None,
            None => values.extend(pickle.ints(id)?),
        }
        (values.len() <= MOST).then_some(())
    };
    match pickle.get(id) {
        Node::List(items) => items.iter().try_for_each(|id| add(*id))?,
        _ => add(id)?,
    }
    values.into_iter().map(|value| u16::try_from(value).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8]) -> Result<Vec<KeepLargest>, String> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), bytes).unwrap();
        read_postprocessing(file.path()).map_err(|e| {
            let source = std::error::Error::source(&e).map_or(String::new(), |e| e.to_string());
            format!("{e}: {source}")
        })
    }

    fn step(labels: &[u16]) -> KeepLargest {
        KeepLargest { labels: labels.to_vec(), background: 0 }
    }

    /// Written by nnU-Net 2.8.1 for labels 1 to 3, whose values are numpy's, all together and the second by itself.
    const LABELS: &[u8] =
        b"\x80\x04\x95+\x01\x00\x00\x00\x00\x00\x00]\x94(\x8c3nnunetv2.postprocessing.remove_connected_components\
        \x94\x8c2remove_all_but_largest_component_from_segmentation\x94\x93\x94h\x03e]\x94(}\x94\x8c\x11labels_o\
        r_regions\x94]\x94(\x8c\x16numpy._core.multiarray\x94\x8c\x06scalar\x94\x93\x94\x8c\x05numpy\x94\x8c\x05\
        dtype\x94\x93\x94\x8c\x02i8\x94\x89\x88\x87\x94R\x94(K\x03\x8c\x01<\x94NNNJ\xff\xff\xff\xffJ\xff\xff\xff\
        \xffK\x00t\x94bC\x08\x01\x00\x00\x00\x00\x00\x00\x00\x94\x86\x94R\x94h\x0ah\x10C\x08\x02\x00\x00\x00\x00\
        \x00\x00\x00\x94\x86\x94R\x94h\x0ah\x10C\x08\x03\x00\x00\x00\x00\x00\x00\x00\x94\x86\x94R\x94es}\x94h\
        \x06h\x18se\x86\x94.";
    /// For regions `(1, 2, 3)`, `(2, 3)` and `3`: all labels, and the first and the last region.
    const REGIONS: &[u8] =
        b"\x80\x04\x95:\x01\x00\x00\x00\x00\x00\x00]\x94(\x8c3nnunetv2.postprocessing.remove_connected_components\
        \x94\x8c2remove_all_but_largest_component_from_segmentation\x94\x93\x94h\x03h\x03e]\x94(}\x94\x8c\x11lab\
        els_or_regions\x94]\x94(\x8c\x16numpy._core.multiarray\x94\x8c\x06scalar\x94\x93\x94\x8c\x05numpy\x94\
        \x8c\x05dtype\x94\x93\x94\x8c\x02i8\x94\x89\x88\x87\x94R\x94(K\x03\x8c\x01<\x94NNNJ\xff\xff\xff\xffJ\xff\
        \xff\xff\xffK\x00t\x94bC\x08\x01\x00\x00\x00\x00\x00\x00\x00\x94\x86\x94R\x94h\x0ah\x10C\x08\x02\x00\x00\
        \x00\x00\x00\x00\x00\x94\x86\x94R\x94h\x0ah\x10C\x08\x03\x00\x00\x00\x00\x00\x00\x00\x94\x86\x94R\x94es}\
        \x94h\x06K\x01K\x02K\x03\x87\x94s}\x94h\x06K\x03se\x86\x94.";

    #[test]
    fn files_of_nnunet_are_read() {
        assert_eq!(read(LABELS), Ok(vec![step(&[1, 2, 3]), step(&[2])]));
        assert_eq!(read(REGIONS), Ok(vec![step(&[1, 2, 3]), step(&[1, 2, 3]), step(&[3])]));
        assert_eq!(read(b"\x80\x02]]\x86."), Ok(vec![]));
    }

    #[test]
    fn anything_else_is_refused_by_name() {
        let one = |function: &str, arguments: &[u8]| {
            let mut bytes = format!("\u{5d}c{function}\na").into_bytes();
            bytes.push(b']');
            bytes.extend([arguments, b"a\x86."].concat());
            bytes
        };
        let keep = KEEP_LARGEST.rsplit_once('.').map(|(module, name)| format!("{module}\n{name}")).unwrap();
        assert_eq!(read(&one(&keep, b"}S'labels_or_regions'\nK\x02s")), Ok(vec![step(&[2])]));
        let background = read(&one(&keep, b"}(S'labels_or_regions'\nK\x02S'background_label'\nK\x07u"));
        assert_eq!(background, Ok(vec![KeepLargest { labels: vec![2], background: 7 }]));
        for (bytes, says) in [
            (one("mine\nfill_holes", b"}"), "the postprocessing mine.fill_holes is not supported"),
            (one("os\nsystem", b"}"), "the pickle names `os.system`"),
            (one(&keep, b"}"), "`labels_or_regions` should be a label"),
            (one(&keep, b"}S'labels_or_regions'\n]s"), "`labels_or_regions` should be a label"),
            (one(&keep, b"}S'labels_or_regions'\nJ\xff\xff\xff\xffs"), "`labels_or_regions` should be a label"),
            (one(&keep, b"}S'labels_or_regions'\nS'liver'\ns"), "`labels_or_regions` should be a label"),
            (one(&keep, b"}S'connectivity'\nK\x01s"), "the argument connectivity of keeping"),
            (one(&keep, b"N"), "should be a dictionary, not None"),
            (b"\x80\x02]N\x86.".to_vec(), "a list of functions and a list of as many arguments"),
            (b"\x80\x02]](Na\x86.".to_vec(), "cannot be used: the pickle"),
            (b"\x80\x02N.".to_vec(), "a list of functions"),
            (b"PK\x03\x04".to_vec(), "cannot be used"),
        ] {
            let error = read(&bytes).unwrap_err();
            assert!(error.contains(says), "{error}");
        }
    }
}
