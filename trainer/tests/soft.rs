//! Soft labels: cut out of a case as its image is, and what teachers say of whole cases.

use rand::SeedableRng;
use rand_xoshiro::Xoshiro256PlusPlus;
use scanside_trainer::augment::spatial::Source;
use scanside_trainer::augment::{Augmenter, Draw, Plan};
use scanside_trainer::dataset::soft::{SoftCase, SoftHeads, SoftLabels};
use scanside_trainer::report::log::read;

#[path = "common/toy.rs"]
mod toy;
use toy::{run, succeeds, work};

/// An image whose intensities are a region's probabilities must stay that, wherever patches are cut.
#[test]
fn soft_labels_go_where_the_image_goes() {
    let shape_zyx = [9, 14, 11];
    let voxels: usize = shape_zyx.iter().product();
    let codes: Vec<u8> = (0..voxels).map(|i| (i * 37 % 251) as u8).collect();
    let heads = SoftHeads::Regions(1);
    let mut image = vec![0.0];
    let image: Vec<f32> = codes
        .iter()
        .map(|code| {
            image[0] = 0.0;
            heads.add(&[*code], 1.0, &mut image);
            image[0]
        })
        .collect();
    let labels = vec![0; voxels];
    let source = Source { shape_zyx, channels: 1, image: &image, labels: &labels };
    let soft = SoftLabels { shape_zyx, heads, records: &codes };
    let plan = Plan::new([8, 10, 7], &[false]);
    let mut augmenter = Augmenter::new(plan.clone());
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(3);
    let patch: usize = plan.patch_zyx.iter().product();
    let (mut turned, mut beyond) = (0, 0);
    for i in 0..300 {
        // Where and how, without what changes intensities alone.
        let mut draw = Draw::random(&plan, &mut rng);
        draw.noise = None;
        for list in [&mut draw.brightness, &mut draw.contrast, &mut draw.gamma, &mut draw.gamma_inverted] {
            list.fill(None);
        }
        draw.blur.fill(None);
        draw.low_resolution.fill(None);
        let start = [i % 13 - 8, i % 17 - 9, i % 11 - 7];
        let (mut got, mut expected, mut of_patch) = (vec![f32::NAN; patch], vec![0.0; patch], vec![0; patch]);
        augmenter.apply(&source, start, &draw, &mut expected, &mut of_patch);
        augmenter.apply_soft(&soft, start, &draw, &mut got);
        for (got, expected) in got.iter().zip(&expected) {
            assert!((got - expected).abs() < 1e-5, "patch {i}: {got} instead of {expected}");
        }
        turned += usize::from(draw.matrix.is_some());
        beyond += usize::from(expected.contains(&0.0));
    }
    assert!(turned > 50 && beyond > 50, "{turned} turned, {beyond} reach beyond");
}

/// The likeliest label of each voxel is what the inference core writes, mirrored and tile by tile; students learn from it.
#[test]
fn teachers_say_of_whole_cases_what_they_segment() {
    let folder = tempfile::tempdir().unwrap();
    let work = work(folder.path());
    let name = work.to_str().unwrap();
    // The patch of the shipped model, which is the teacher here.
    let plans = work.join("plans.json");
    let mut text: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(&plans).unwrap()).unwrap();
    text["configurations"]["3d_fullres"]["patch_size"] = serde_json::json!([40, 56, 40]);
    std::fs::write(&plans, text.to_string()).unwrap();
    let teacher = concat!(env!("CARGO_MANIFEST_DIR"), "/../models/hippocampus-nnunet-slim.onnx");
    let distill = |more: &[&str]| {
        let all = ["distill", name, "--teacher", teacher, "--trust-teacher", "--family", "2", "--floor", "2"];
        let short = ["--validation-iterations", "0", "--device", "cpu", "--epochs", "1", "--iterations-per-epoch", "2"];
        run(&[&all[..], &["--soft-labels", "cached", "--no-validation"], &short, more].concat())
    };
    let first = distill(&["--labelled", "1"]);
    assert!(first.status.success(), "{}", String::from_utf8_lossy(&first.stderr));
    assert_eq!(String::from_utf8_lossy(&first.stderr).matches("soft labels ").count(), 2);
    let second = distill(&["--seed", "1"]);
    assert!(second.status.success(), "{}", String::from_utf8_lossy(&second.stderr));
    assert_eq!(String::from_utf8_lossy(&second.stderr).matches("soft labels ").count(), 0, "asked again");
    let record = read(&work.join("runs/r2f2_fold_0_seed_1/log.jsonl")).unwrap().remove(0);
    assert!(record.teacher_passes == 0 && record.terms["logit"] > 0.0 && record.terms["boundary"] > 0.0, "{record:?}");
    assert_eq!(distill(&["--seed", "2", "--losses", "feature"]).status.code(), Some(2));

    // Fold 1 holds back a case that fold 0 trains on.
    let labels = folder.path().join("labels");
    succeeds(&["validate", name, "--model", teacher, "--fold", "1", "-q", "-o", labels.to_str().unwrap()]);
    let soft = std::fs::read_dir(work.join("soft")).unwrap().next().unwrap().unwrap().path();
    let mut compared = 0;
    for entry in std::fs::read_dir(&labels).unwrap() {
        let path = entry.unwrap().path();
        let Some(id) = path.file_name().and_then(|n| n.to_str()).and_then(|n| n.strip_suffix(".nii.gz")) else {
            continue;
        };
        let volume = scanside_formats::read_labels(&path).unwrap();
        let case = SoftCase::open(&soft.join(format!("{id}.ssoft"))).unwrap();
        assert_eq!(case.facts().shape_zyx, volume.grid().shape_zyx);
        let likeliest = case.labels().records.chunks_exact(4).map(|record| u32::from(record[0]));
        let different = likeliest.zip(&volume.labels).filter(|(a, b)| a != *b).count();
        let voxels = volume.labels.len();
        assert!(different * 1000 <= voxels, "{id}: {different} of {voxels} voxels differ");
        assert!(volume.labels.iter().any(|label| *label > 0), "{id} holds nothing to compare");
        compared += 1;
    }
    assert_eq!(compared, 1);
}
