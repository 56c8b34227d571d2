//! Which scans of a folder or a list are segmented, what their labels are called, and what is said of the rest.

use scanside_tests::program::said;
use scanside_tests::small::{names, put_scan, segment, segmented};
use serde_json::Value;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::Path;

/// A folder with copies of one scan under these names, and an empty place for labels.
fn scans(names: &[&str]) -> (tempfile::TempDir, std::path::PathBuf, std::path::PathBuf) {
    let folder = tempfile::tempdir().expect("a folder");
    let (input, output) = (folder.path().join("in"), folder.path().join("out"));
    names.iter().for_each(|name| put_scan(&input.join(name)));
    (folder, input, output)
}

#[test]
fn a_model_with_one_channel_takes_files_of_any_name() {
    let all = ["p_0001.nii.gz", "p_0002.nii.gz", "smith_2023.nii.gz", "T1 (a) [b].nii.gz", "c_0000.nii.gz", "D.NII.GZ"];
    let (_folder, input, output) = scans(&all);
    let result = segmented(&input, &output, &[]);
    assert_eq!(result.status.code(), Some(0), "{}", said(&result));
    let expected = ["D.nii.gz", "T1 (a) [b].nii.gz", "c.nii.gz", "p_0001.nii.gz", "p_0002.nii.gz", "smith_2023.nii.gz"];
    assert_eq!(names(&output), expected);
    assert!(said(&result).contains("6 cases: 6 done, 0 done before, 0 failed\n"), "{}", said(&result));
    // One after the other, they have the same names.
    for name in ["p_0001", "p_0002", "smith_2023"] {
        let again = segmented(&input.join(format!("{name}.nii.gz")), &output, &[]);
        assert!(said(&again).contains(&format!("{name}: already done")), "{}", said(&again));
    }
    assert_eq!(names(&output).len(), 6);
}

#[test]
fn two_scans_never_share_a_label_file() {
    let (_folder, input, output) = scans(&["a.nii.gz", "a_0000.nii.gz", "b.nii.gz"]);
    let result = segmented(&input, &output, &["--overwrite"]);
    assert_eq!(result.status.code(), Some(7), "{}", said(&result));
    let words = said(&result);
    assert!(words.contains("in/a.nii.gz and of") && words.contains("in/a_0000.nii.gz would have one name"), "{words}");
    assert_eq!(names(&output), ["b.nii.gz"]);
}

#[test]
fn nothing_in_a_folder_is_left_out_without_a_word() {
    let (folder, input, output) = scans(&["a_0000.nii.gz", "B.Nii.Gz", "sub/c.nii.gz", ".d.nii.gz"]);
    std::fs::copy(input.join("a_0000.nii.gz"), input.join(OsStr::from_bytes(b"M\xfcller_0000.nii.gz")))
        .expect("a copy");
    symlink("../.annex/none", input.join("e_0000.nii.gz")).expect("a link");
    for name in ["dataset.json", "f.zzz", "g.nii.bz2", "IM0001"] {
        std::fs::write(input.join(name), b"x").expect("a file");
    }
    let record = folder.path().join("record.json");
    let result = segmented(&input, &output, &["--record", record.to_str().expect("a path")]);
    assert_eq!(result.status.code(), Some(7), "{}", said(&result));
    let words = said(&result);
    assert!(words.contains("e: ") && words.contains("is a link to ../.annex/none, which does not exist"), "{words}");
    let line = words.lines().find(|line| line.starts_with("4 cases: ")).expect("a summary");
    for part in [
        "3 done, 0 done before, 1 failed; left out: ",
        "1 sub-folder not searched (--recursive searches them)",
        "1 hidden file",
        "1 file without an ending",
        "1 .json file (this format is not read)",
        "1 .zzz file (this",
        "1 .nii.bz2 file (NIfTI in bzip2 is not read)",
    ] {
        assert!(line.contains(part), "{part}: {line}");
    }
    assert!(output.join(OsStr::from_bytes(b"M\xfcller.nii.gz")).is_file());
    assert_eq!(names(&output).len(), 3);

    let facts: Value = serde_json::from_slice(&std::fs::read(record).expect("a record")).expect("JSON");
    let summary = &facts["summary"];
    assert_eq!((&summary["cases"], &summary["done"], &summary["failed"]), (&4.into(), &3.into(), &1.into()));
    let left_out = summary["left_out"].as_array().expect("a list");
    let of = |reason: Value| left_out.iter().find(|left| left["reason"] == reason).expect("the reason").clone();
    assert_eq!(of("sub_folder".into())["count"], 1);
    let read_as = of(serde_json::json!({"not_read": ".zzz"}));
    assert!(read_as["names"][0].as_str().is_some_and(|name| name.ends_with("in/f.zzz")), "{read_as}");
    assert_eq!(facts["cases"].as_array().map(Vec::len), Some(4));
}

#[test]
fn labels_beside_their_scans_are_no_scans() {
    let (_folder, input, _) = scans(&["a_0000.nii.gz", "b_0000.nii.gz", "c_0000.nii.gz"]);
    let first = segmented(&input, &input, &[]);
    assert!(said(&first).contains("3 cases: 3 done, 0 done before, 0 failed\n"), "{}", said(&first));
    let again = segmented(&input, &input, &[]);
    let line = "3 cases: 0 done, 3 done before, 0 failed; left out: 3 label files that this program wrote\n";
    assert!(again.status.success() && said(&again).contains(line), "{}", said(&again));
    // Replacing them is allowed: they are no inputs.
    let replaced = segmented(&input, &input, &["--overwrite"]);
    assert!(replaced.status.success() && said(&replaced).contains("3 cases: 3 done"), "{}", said(&replaced));
    assert_eq!(names(&input).len(), 6);
}

#[test]
fn sub_folders_are_kept() {
    let (_folder, input, output) = scans(&["a.nii.gz", "x/a.nii.gz", "x/y/b_0000.nii.gz"]);
    let result = segmented(&input, &output, &["--recursive"]);
    assert_eq!(result.status.code(), Some(0), "{}", said(&result));
    assert_eq!(names(&output), ["a.nii.gz", "x/a.nii.gz", "x/y/b.nii.gz"]);
    let again = segmented(&input, &output, &["--recursive"]);
    assert!(said(&again).contains("3 cases: 0 done, 3 done before, 0 failed\n"), "{}", said(&again));
    // Labels may be inside of the folder that is searched.
    let inside = segmented(&input, &input.join("labels"), &["--recursive"]);
    assert!(said(&inside).contains("3 cases: 3 done"), "{}", said(&inside));
    let again = segmented(&input, &input.join("labels"), &["--recursive"]);
    assert!(said(&again).contains("3 done before, 0 failed; left out: 3 label files"), "{}", said(&again));
}

#[test]
fn a_list_names_scans_wherever_they_are() {
    let (folder, input, output) = scans(&["x/a_0000.nii.gz", "y/b.nii.gz", "z/c.nii.gz"]);
    let mut lines = Vec::new();
    for name in ["x/a_0000.nii.gz", "y/b.nii.gz", "none.nii.gz"] {
        lines.extend_from_slice(input.join(name).as_os_str().as_bytes());
        lines.extend_from_slice(b"\r\n\n");
    }
    let list = folder.path().join("list.txt");
    std::fs::write(&list, lines).expect("a list");
    let run = |extra: &[&str]| {
        let mut program = segment();
        program.arg("--list").arg(&list).arg("-o").arg(&output).args(extra);
        program.output().expect("the program starts")
    };
    let result = run(&[]);
    assert_eq!(result.status.code(), Some(7), "{}", said(&result));
    assert!(said(&result).contains("3 cases: 2 done, 0 done before, 1 failed\n"), "{}", said(&result));
    assert!(said(&result).contains("none.nii.gz does not exist"), "{}", said(&result));
    assert_eq!(names(&output), ["a.nii.gz", "b.nii.gz"]);
    assert_eq!(run(&["--recursive"]).status.code(), Some(2));
    assert_eq!(run(&["-i", "x"]).status.code(), Some(2));
}

#[test]
fn parts_are_divided_as_nnunet_divides_them() {
    let all = ["a.nii.gz", "b.nii.gz", "c.nii.gz", "d.nii.gz", "e.nii.gz"];
    let (_folder, input, output) = scans(&all);
    let part = |text: &str| segmented(&input, &output, &["--part", text]);
    assert!(part("1/2").status.success());
    assert_eq!(names(&output), ["b.nii.gz", "d.nii.gz"]);
    assert!(said(&part("0/2")).contains("3 cases: 3 done"));
    assert_eq!(names(&output), all);
    for (text, range) in [("2/2", "0/2 to 1/2"), ("3/2", "0/2 to 1/2"), ("0/0", "0/4 to 3/4"), ("x", "0/4 to 3/4")] {
        let wrong = part(text);
        assert!(wrong.status.code() == Some(2) && said(&wrong).contains(range), "{text}: {}", said(&wrong));
    }
}

#[test]
fn an_empty_folder_says_what_it_holds() {
    let (_folder, input, output) = scans(&[]);
    std::fs::create_dir_all(input.join("series")).expect("a folder");
    std::fs::write(input.join("a.zzz"), b"x").expect("a file");
    let result = segmented(&input, &output, &[]);
    let words = said(&result);
    assert_eq!(result.status.code(), Some(3), "{words}");
    assert!(
        words.contains("holds no scans") && words.contains("1 sub-folder") && words.contains("1 .zzz file"),
        "{words}"
    );
    assert!(!Path::new(&output).exists());
}
