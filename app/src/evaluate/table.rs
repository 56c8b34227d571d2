//! The report as text for people.

use super::report::{Mean, Means, Report};

/// Tables of cases and of means, in aligned columns.
pub fn render(report: &Report) -> String {
    let surface_dice = format!("NSD at {} mm", report.settings.tolerance_mm);
    let mut cases = vec![
        ["case", "class", "Dice", &surface_dice, "HD95 (mm)", "prediction (ml)", "label (ml)"]
            .map(String::from)
            .to_vec(),
    ];
    for case in &report.cases {
        for class in &case.classes {
            let distance =
                if class.hausdorff_95_infinite { "infinite".into() } else { number(class.hausdorff_95_mm, 2) };
            cases.push(vec![
                case.case.clone(),
                class.name.clone(),
                number(class.dice, 4),
                number(class.surface_dice, 4),
                distance,
                format!("{:.2}", class.prediction_ml),
                format!("{:.2}", class.label_ml),
            ]);
        }
    }
    let mut means =
        vec![["class", "cases", "Dice", &surface_dice, "HD95 (mm)", "infinite HD95"].map(String::from).to_vec()];
    let classes = report.means.iter().map(|class| (class.name.as_str(), &class.means));
    for (name, mean) in classes.chain([("mean over classes", &report.mean_over_classes)]) {
        means.push(mean_row(name, mean));
    }
    let compared = report.cases.len();
    let failed = match report.failed.len() {
        0 => String::new(),
        failed => format!("; {failed} failed and are left out"),
    };
    format!(
        "{}\nMeans over {compared} case(s){failed}, with 95 % bootstrap intervals ({} resamples):\n\n{}",
        align(&cases, 2),
        report.bootstrap_resamples,
        align(&means, 1)
    )
}

fn mean_row(name: &str, means: &Means) -> Vec<String> {
    let with_interval = |mean: &Option<Mean>, digits: usize| match mean {
        Some(Mean { mean, low, high, .. }) => format!("{mean:.digits$} [{low:.digits$}, {high:.digits$}]"),
        None => "-".into(),
    };
    vec![
        name.to_owned(),
        means.dice.map_or(0, |mean| mean.cases).to_string(),
        with_interval(&means.dice, 4),
        with_interval(&means.surface_dice, 4),
        with_interval(&means.hausdorff_95_mm, 2),
        means.hausdorff_95_infinite.to_string(),
    ]
}

fn number(value: Option<f64>, digits: usize) -> String {
    value.map_or("-".into(), |value| format!("{value:.digits$}"))
}

/// Columns two spaces apart: the first `left` of them begin on the left, the others end on the right.
fn align(rows: &[Vec<String>], left: usize) -> String {
    let columns = rows.first().map_or(0, Vec::len);
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for row in rows {
        let cells = row.iter().zip(&widths).enumerate().map(|(column, (cell, width))| {
            if column < left { format!("{cell:<width$}") } else { format!("{cell:>width$}") }
        });
        text += cells.collect::<Vec<_>>().join("  ").trim_end();
        text.push('\n');
    }
    text
}
