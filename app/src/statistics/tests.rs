//! Statistics of a small case, compared with what NumPy, SciPy and SimpleITK make of it (`tests/golden/make_statistics.py`).

use super::*;
use scanside_core::manifest::{Channel, Labels, NetworkGrid, Normalization};
use scanside_formats::Scan;
use serde_json::Value;

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden/statistics").join(name)
}

fn manifest() -> Manifest {
    let names = [("background", 0), ("liver", 1), ("left, upper", 2), ("absent", 3), ("dot", 4), ("specks", 5)];
    let heads = names.map(|(name, value)| Label::new(name, value)).to_vec();
    let channels = ["CT", "map"].map(|name| Channel::new(name, Normalization::None)).to_vec();
    Manifest::new(NetworkGrid::new([8; 3], [None; 3]), channels, Labels::Exclusive { heads })
}

fn add(table: &Path, cases: &[&str]) {
    let scan = Scan::open(&[golden("scan_0000.nii"), golden("scan_0001.nii")]).unwrap();
    let volume = LabelledScan::open(&scan, &golden("labels.nii")).unwrap();
    let table = StatisticsTable::at(table).unwrap();
    cases.iter().for_each(|case| table.add(case, &volume, &manifest()).unwrap());
}

#[test]
fn an_oblique_case_has_the_numbers_of_scipy() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("table.csv");
    add(&path, &["case"]);
    assert_eq!(std::fs::read_to_string(&path).unwrap(), std::fs::read_to_string(golden("expected.csv")).unwrap());
}

#[test]
fn json_has_each_channel() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("table.JSON");
    add(&path, &["a", "b", "a"]);
    let table: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    let cases = table["cases"].as_array().unwrap();
    assert_eq!(cases.iter().map(|case| case["case"].as_str().unwrap()).collect::<Vec<_>>(), ["a", "b"]);
    let mut expected: Value = serde_json::from_slice(&std::fs::read(golden("expected.json")).unwrap()).unwrap();
    for label in expected.as_array_mut().unwrap() {
        for (intensity, channel) in label["intensity"].as_array_mut().unwrap().iter_mut().zip(["CT", "map"]) {
            intensity["channel"] = channel.into();
        }
    }
    // Python writes whole numbers without a fraction; as numbers they are the same.
    let numbers = |value: &Value| value.to_string().replace(".0,", ",").replace(".0}", "}").replace(".0]", "]");
    assert_eq!(numbers(&cases[0]["labels"]), numbers(&expected));
}

#[test]
fn names_of_tables_say_how_they_are_written() {
    for name in ["table", "table.txt", "csv"] {
        assert_eq!(StatisticsTable::at(Path::new(name)).unwrap_err().kind(), ErrorKind::Usage, "{name}");
    }
}

#[test]
fn labels_of_another_scan_are_refused() {
    let scan = Scan::open(&[golden("../nifti/gz.nii.gz")]).unwrap();
    let error = LabelledScan::open(&scan, &golden("labels.nii")).err().unwrap();
    assert!(error.to_string().contains("do not lie on the voxels of the scan"), "{error}");
}
