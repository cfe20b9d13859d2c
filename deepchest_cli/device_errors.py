"""Which errors mean that memory has run out, and which that a device has failed.

torch has a class for some of them only, and one class for all errors of CUDA: the words decide.
They are those of CUDA's, ROCm's, Level Zero's and NVML's own lists of errors. Nothing here imports
torch.
"""

import re

from deepchest_cli.errors import DeepChestError, LostDeviceError

# CUDA, ROCm, XPU and Metal; cuBLAS, cuDNN and others; the CPU on Linux, macOS and Windows
OUT_OF_MEMORY = re.compile(
    r"out[ _]of[ _]((device|host)[ _])?memory|ALLOC(ATION)?_FAILED|allocate memory"
    r"|not enough memory|UR_RESULT_ERROR_OUT_OF_RESOURCES"
    # what torch's allocator meets when it wants to say how much is free
    r"|NVML_SUCCESS == .*CUDACachingAllocator",
    re.IGNORECASE,
)
# the process can no longer use the device, and it is not the code that is known to be at fault
LOST = re.compile(
    r"uncorrectable (ECC|NVLink) error|hardware stack error|unspecified launch failure"
    r"|illegal memory access|illegal instruction|misaligned address|invalid program counter"
    r"|operation not supported on global/shared address space|launch timed out"
    r"|(is/are|are) busy or unavailable|no CUDA-capable device|no ROCm-capable device"
    r"|(CUDA|HIP)( driver)? error: (initialization error|unknown error)"
    r"|GPU is lost|fallen off the bus|DEVICE_LOST",
    re.IGNORECASE,
)
# not "device-side assertions", which every error of CUDA says how to enable
FAILED_ASSERTION = re.compile(r"device-side assert triggered", re.IGNORECASE)


def first_line(error: BaseException) -> str:
    """Return the first line of an error's text, without a full stop."""
    return str(error).strip().partition("\n")[0].rstrip(".")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether main memory or that of a device has run out."""
    # torch's class for all devices
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    return isinstance(error, RuntimeError | OSError) and bool(OUT_OF_MEMORY.search(str(error)))


def explain_device(error: BaseException) -> DeepChestError | None:
    """Return the error to show where a process can no longer use its device; None where it can.

    `LostDeviceError` where the device has failed. Faults of code can end so too (an illegal memory
    access): another device tells. A failed assertion is always one of the code.
    """
    if not isinstance(error, RuntimeError) or is_out_of_memory(error):
        return None
    if FAILED_ASSERTION.search(str(error)):
        return DeepChestError(
            f"A check in a GPU's kernel failed: {first_line(error)}.",
            "This is a fault of code and not of the device, such as an index out of range; with "
            "the variable CUDA_LAUNCH_BLOCKING=1 and --debug the traceback says where.",
        )
    if LOST.search(str(error)):
        return LostDeviceError(
            f"The device has failed: {first_line(error)}.",
            "Choose another --device, or restart this one (nvidia-smi and the system's log say "
            "more).",
        )
    return None
