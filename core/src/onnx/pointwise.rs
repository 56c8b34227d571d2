//! What follows a convolution, in place, one channel after the other: instance norm, scale and shift, activation.
//!
//! Statistics are summed in double precision in a fixed order: a plane of 128^3 voxels holds two million values, and
//! single-precision sums of so many lose the digits that decide near ties.

use pulp::Arch;

/// One operation on the channels of a freshly written buffer.
#[derive(Debug, Clone)]
pub(crate) enum Post {
    /// `(x - mean) / sqrt(var + eps) * scale + shift`, statistics over the channel's voxels.
    Norm { scale: Vec<f32>, shift: Vec<f32>, epsilon: f32 },
    /// `x * scale + shift` with constants.
    Affine { scale: Vec<f32>, shift: Vec<f32> },
    /// `x` where positive, `slope * x` elsewhere.
    Leaky(f32),
}

impl Post {
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Post::Norm { scale, shift, .. } | Post::Affine { scale, shift } => {
                4 * (scale.capacity() + shift.capacity())
            }
            Post::Leaky(_) => 0,
        }
    }
}

/// Applies `posts` in order to each channel of `data`.
pub(crate) fn apply(posts: &[Post], data: &mut [f32], voxels: usize) {
    for (c, plane) in data.chunks_exact_mut(voxels).enumerate() {
        let mut i = 0;
        while i < posts.len() {
            let (scale, shift) = match &posts[i] {
                Post::Norm { scale, shift, epsilon } => {
                    let (mean, var) = moments(plane);
                    let s = f64::from(scale[c]) / (var + f64::from(*epsilon)).sqrt();
                    (s as f32, (f64::from(shift[c]) - mean * s) as f32)
                }
                Post::Affine { scale, shift } => (scale[c], shift[c]),
                Post::Leaky(_) => (1.0, 0.0),
            };
            // The activation rides on the pass of the norm before it.
            let slope = match (&posts[i], posts.get(i + 1)) {
                (Post::Leaky(slope), _) => Some(*slope),
                (_, Some(Post::Leaky(slope))) => {
                    i += 1;
                    Some(*slope)
                }
                _ => None,
            };
            i += 1;
            Arch::new().dispatch(|| scale_shift(plane, scale, shift, slope));
        }
    }
}

#[inline(always)]
fn scale_shift(plane: &mut [f32], scale: f32, shift: f32, slope: Option<f32>) {
    match slope {
        None => plane.iter_mut().for_each(|x| *x = *x * scale + shift),
        // Not a product with zero: infinities would become NaN.
        Some(0.0) => plane.iter_mut().for_each(|x| {
            let y = *x * scale + shift;
            *x = if y < 0.0 { 0.0 } else { y };
        }),
        Some(slope) => plane.iter_mut().for_each(|x| {
            let y = *x * scale + shift;
            *x = if y < 0.0 { y * slope } else { y };
        }),
    }
}

/// Mean and biased variance in double precision. Eight running sums, added in a fixed order at the end.
pub(crate) fn moments(plane: &[f32]) -> (f64, f64) {
    let (sum, squares) = Arch::new().dispatch(|| sums(plane));
    let n = plane.len() as f64;
    let mean = sum / n;
    // Squares of f32 are exact in f64, so the difference is good to about 1e-16 of the mean square.
    (mean, (squares / n - mean * mean).max(0.0))
}

#[inline(always)]
fn sums(plane: &[f32]) -> (f64, f64) {
    const W: usize = 16;
    let mut s = [0f64; W];
    let mut q = [0f64; W];
    let chunks = plane.chunks_exact(W);
    let tail = chunks.remainder();
    for chunk in chunks {
        for i in 0..W {
            let x = f64::from(chunk[i]);
            s[i] += x;
            q[i] += x * x;
        }
    }
    for (i, &x) in tail.iter().enumerate() {
        let x = f64::from(x);
        s[i] += x;
        q[i] += x * x;
    }
    (s.iter().sum(), q.iter().sum())
}
