"""What we hang into a vLLM on a CPU. That it helps there is shown by tests/vllm/test_adapters.py."""

import subprocess
import sys
from importlib.metadata import Distribution

import torch

from service.engine.command import PLUGIN
from service.engine.vllm_plugin.domainqa_vllm_cpu import has_fault, without_fault

GENERATOR = torch.Generator().manual_seed(3)


def indexing(inputs, weights, output, indices, scaling=1.0):
    """As vLLM's function for CPUs does it: -1 is the last."""
    output[:] = scaling * torch.einsum("bi,boi->bo", inputs, weights[indices].squeeze(1))


def test_the_fault_is_seen_where_it_is_and_only_there():
    assert has_fault(indexing)
    assert not has_fault(without_fault(indexing))


def test_tokens_without_an_adapter_get_nothing_and_the_others_what_they_got():
    inputs, weights = torch.rand(5, 4, generator=GENERATOR), torch.rand(2, 1, 3, 4, generator=GENERATOR)
    indices = torch.tensor([0, -1, 1, -1, 0])
    expected, found = torch.zeros(5, 3), torch.full((5, 3), 7.0)
    indexing(inputs, weights, expected, indices, 0.5)
    expected[[1, 3]] = 0
    without_fault(indexing)(inputs, weights, found, indices, 0.5)
    assert torch.equal(found, expected)


def test_vllm_finds_it_by_its_entry_point_and_it_can_be_imported_without_vllm():
    (distribution,) = Distribution.discover(name="domainqa-vllm-cpu", path=[str(PLUGIN)])
    (point,) = distribution.entry_points
    assert (point.group, point.value) == ("vllm.general_plugins", "domainqa_vllm_cpu:repair")
    code = "import domainqa_vllm_cpu, sys; assert callable(domainqa_vllm_cpu.repair); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], env={"PYTHONPATH": str(PLUGIN)}, check=True, timeout=60)
