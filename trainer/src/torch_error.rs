//! Errors of libtorch, with a kind.

use scanside_app::error::{Error, ErrorKind};
use tch::TchError;

/// Parts of the messages with which libtorch and CUDA report that memory is exhausted.
const OUT_OF_MEMORY: [&str; 3] = ["out of memory", "not enough memory", "can't allocate memory"];

/// Gives an error of libtorch its kind.
pub trait OrTorchError<T> {
    /// [`ErrorKind::DoesNotFit`] where memory is exhausted, [`ErrorKind::Internal`] for everything else.
    ///
    /// # Errors
    /// That one.
    fn or_torch_error(self) -> Result<T, Error>;
}

impl<T> OrTorchError<T> for Result<T, TchError> {
    fn or_torch_error(self) -> Result<T, Error> {
        self.map_err(|error| {
            let message = error.to_string();
            if OUT_OF_MEMORY.iter().any(|part| message.contains(part)) {
                let sentence = "there is not enough memory for the network and its batch; use smaller batches";
                return Error::with_source(ErrorKind::DoesNotFit, sentence, error);
            }
            Error::with_source(ErrorKind::Internal, "libtorch failed", error)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::{Device, Kind, Tensor};

    #[test]
    fn memory_and_faults_are_told_apart() {
        // 2^60 numbers fit nowhere.
        let huge = Tensor::f_zeros([1 << 60], (Kind::Float, Device::Cpu)).or_torch_error().unwrap_err();
        assert_eq!(huge.kind(), ErrorKind::DoesNotFit, "{}", huge.chain());
        let vector = Tensor::from_slice(&[1.0f32, 2.0]);
        let fault = vector.f_view([3]).or_torch_error().unwrap_err();
        assert_eq!(fault.kind(), ErrorKind::Internal, "{}", fault.chain());
        assert!(fault.chain().starts_with("libtorch failed: "), "{}", fault.chain());
    }
}
