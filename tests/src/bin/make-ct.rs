//! Writes a made-up CT for measurements of memory and time.
//!
//! usage: make-ct OUT.nii[.gz] NZ NY NX SPACING_Z SPACING_Y SPACING_X

use std::io::BufWriter;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [path, numbers @ ..] = args.as_slice() else { return Err(USAGE.into()) };
    let [nz, ny, nx, sz, sy, sx] = numbers else { return Err(USAGE.into()) };
    let file = BufWriter::new(std::fs::File::create(path)?);
    let shape = [nz.parse()?, ny.parse()?, nx.parse()?];
    scanside_tests::ct::write(file, shape, [sz.parse()?, sy.parse()?, sx.parse()?], path.ends_with(".gz"))?;
    Ok(())
}

const USAGE: &str = "usage: make-ct OUT.nii[.gz] NZ NY NX SPACING_Z SPACING_Y SPACING_X";
