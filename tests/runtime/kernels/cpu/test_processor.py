"""The choice of instructions by CPU features; Arm code is compiled and inspected everywhere, and run where possible."""

from __future__ import annotations

import pytest
from llvmlite import binding as llvm

from llorch.formats.vector_code.jit_cache import Target, this_machine
from llorch.runtime.kernels.cpu.grouped import GROUPED
from llorch.runtime.kernels.cpu.processor import Instructions, Processor, processor_of
from llorch.runtime.kernels.cpu.products import exact_product, quantized_product
from llorch.runtime.kernels.cpu.scheduler import scheduler
from llorch.runtime.kernels.cpu.steps.activations import quantize_kernel
from llorch.runtime.kernels.cpu.tiles import tile_product

V3 = "+avx2,+fma,+f16c"
X86 = pytest.mark.skipif(not llvm.get_process_triple().startswith("x86_64"), reason="names of x86's features")


@X86
@pytest.mark.parametrize(
    ("features", "expected"),
    [
        (f"{V3},+avx512bw,+avx512vl,+avx512dq,+avx512vnni", "avx512-vnni"),
        (f"{V3},+avx512bw,+avx512vl,+avx512dq,-avx512vnni", "avx512"),
        (f"{V3},-avx512bw", "avx2"),
        ("+sse4.2,-avx2,-fma,-f16c", "portable"),
    ],
)
def test_instructions_follow_from_features(features: str, expected: Instructions) -> None:
    assert processor_of(Target("x86-64", features)).instructions == expected


def arm_assembly(text: str, features: str) -> str:
    """The assembly that LLVM produces from a module for 64-bit Arm."""
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    target = llvm.Target.from_triple("aarch64-unknown-linux-gnu")
    machine = target.create_target_machine(cpu="generic", features=features, opt=3)
    module = llvm.parse_assembly(text)
    module.triple, module.data_layout = machine.triple, str(machine.target_data)
    passes = llvm.create_pass_builder(machine, llvm.create_pipeline_tuning_options(speed_level=3))
    passes.getModulePassManager().run(module, passes)
    assembly: str = machine.emit_assembly(module)
    return assembly


ARM = Processor(Target("generic", "+neon,+dotprod"), "dotprod")


@pytest.mark.parametrize("name", ["Q4_K", "Q6_K", "Q8_0", "Q5_0"])
def test_arm_multiplies_bytes_by_its_own_instruction(name: str) -> None:
    for text in (quantized_product(GROUPED[name], ARM, 1, 1), tile_product(GROUPED[name], ARM, 2)):
        assert "sdot" in arm_assembly(text, ARM.target.features)


def test_arm_gets_every_other_kernel_without_a_library_call() -> None:
    texts = [
        scheduler(ARM),
        quantize_kernel(ARM, 2),
        exact_product(GROUPED["Q4_K"].type, ARM, 4, None),
        quantized_product(GROUPED["Q4_1"], Processor(ARM.target, "portable"), 2, 2),
    ]
    for text in texts:
        calls = [
            line.split()[-1]
            for line in arm_assembly(text, ARM.target.features).splitlines()
            if "\tbl\t" in line
        ]
        assert set(calls) <= {"execute"}


def test_this_machine_has_a_processor() -> None:
    assert processor_of(this_machine()).lanes in (8, 16)
