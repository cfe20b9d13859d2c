"""Which errors of torch mean what, by the texts that it really raises."""

import pytest
import torch

from deepchest_cli.device_errors import explain_device, is_out_of_memory
from deepchest_cli.errors import LostDeviceError

# what torch adds to every error of CUDA
TAIL = (
    "\nSearch for `cudaErrorX' in https://docs.nvidia.com/cuda/cuda-runtime-api for more "
    "information.\nCUDA kernel errors might be asynchronously reported at some other API call, so "
    "the stacktrace below might be incorrect.\nFor debugging consider passing "
    "CUDA_LAUNCH_BLOCKING=1.\nCompile with `TORCH_USE_CUDA_DSA` to enable device-side assertions.\n"
)
OUT_OF_MEMORY = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
    torch.OutOfMemoryError("XPU out of memory. Tried to allocate 4.66 GiB."),
    RuntimeError("MPS backend out of memory (MPS allocated: 17.2 GB, other allocations: 1 GB)."),
    torch.AcceleratorError(f"CUDA error: out of memory{TAIL}"),
    RuntimeError("CUDA driver error: out of memory"),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
    RuntimeError("cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED"),
    RuntimeError(
        "NVML_SUCCESS == r INTERNAL ASSERT FAILED at "
        '"../c10/cuda/CUDACachingAllocator.cpp":830, please report a bug to PyTorch.'
    ),
    RuntimeError("level_zero backend failed with error: 39 (UR_RESULT_ERROR_OUT_OF_DEVICE_MEMORY)"),
    RuntimeError("UR backend failed. UR backend returns:40 (UR_RESULT_ERROR_OUT_OF_RESOURCES)"),
    RuntimeError(
        "[enforce fail at alloc_cpu.cpp:117] err == 0. DefaultCPUAllocator: can't allocate memory: "
        "you tried to allocate 99 bytes. Error code 12 (Cannot allocate memory)"
    ),
    RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 99 bytes."),
    MemoryError("Unable to allocate 1.2 GiB for an array"),
]
LOST = [
    "CUDA error: uncorrectable ECC error encountered",
    "CUDA error: uncorrectable NVLink error detected during the execution",
    "CUDA error: unspecified launch failure",
    "CUDA error: an illegal memory access was encountered",
    "CUDA error: the launch timed out and was terminated",
    "CUDA error: hardware stack error",
    "CUDA error: misaligned address",
    "CUDA error: unknown error",
    "CUDA error: initialization error",
    "CUDA error: CUDA-capable device(s) is/are busy or unavailable",
    "HIP error: unspecified launch failure",
    "Native API failed. Native API returns: 20 (UR_RESULT_ERROR_DEVICE_LOST)",
]
# faults of code or of the installation, after which the process can still use the device
OTHERS = [
    "CUDA error: invalid argument",
    "CUDA error: no kernel image is available for execution on the device",
    "CUDA error: invalid configuration argument",
    "CUDA error: CUBLAS_STATUS_INVALID_VALUE when calling `cublasSgemm(...)`",
    "Expected all tensors to be on the same device, but found at least two devices",
]


@pytest.mark.parametrize("error", OUT_OF_MEMORY, ids=lambda error: str(error)[:40])
def test_a_lack_of_memory_is_known_by_the_words_of_each_allocator(error):
    assert is_out_of_memory(error)
    assert explain_device(error) is None


@pytest.mark.parametrize("words", LOST)
@pytest.mark.parametrize("kind", [torch.AcceleratorError, RuntimeError])
def test_a_failed_device_is_known_by_its_words(words, kind):
    explained = explain_device(kind(words + TAIL))
    assert isinstance(explained, LostDeviceError)
    assert explained.message == f"The device has failed: {words}."
    assert not is_out_of_memory(kind(words + TAIL))


def test_a_failed_assertion_is_a_fault_of_code():
    error = torch.AcceleratorError(f"CUDA error: device-side assert triggered{TAIL}")
    explained = explain_device(error)
    assert explained is not None
    assert not isinstance(explained, LostDeviceError)
    assert "fault of code" in explained.hint


@pytest.mark.parametrize("words", OTHERS)
def test_what_leaves_the_device_usable_is_no_failure_of_it(words):
    error = torch.AcceleratorError(words + TAIL)
    assert explain_device(error) is None
    assert not is_out_of_memory(error)


def test_words_in_errors_of_other_code_mean_nothing():
    assert explain_device(ValueError("unspecified launch failure")) is None
    assert not is_out_of_memory(ValueError("out of memory"))
