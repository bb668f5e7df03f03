"""Write kernels with LLVM's builder: functions, loops, variables and memory access."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from llvmlite import ir

from llorch.formats.vector_code import BYTE, FLOAT, INDEX, WORD, Value
from llorch.runtime.kernels.cpu.processor import Processor

POINTER = ir.PointerType()
VOID = ir.VoidType()
SHORT = ir.IntType(16)


def vector(element: Any, lanes: int) -> Any:
    """LLVM's type of a vector."""
    return ir.VectorType(element, lanes)


class Variable:
    """A mutable number or vector; LLVM keeps it in a register."""

    def __init__(self, builder: Any, place: Any, kind: Any) -> None:
        self._builder, self._place, self._kind = builder, place, kind

    @property
    def value(self) -> Value:
        """The current value."""
        return Value(self._builder, self._builder.load(self._place, typ=self._kind))

    @value.setter
    def value(self, value: Value) -> None:
        self._builder.store(value.ir, self._place)


class Emitter:
    """Writes one function of a module, from its first instruction to its last.

    Arguments and addresses are 64-bit integers, which Python can pass directly.
    """

    def __init__(
        self, module: Any, name: str, arguments: int, processor: Processor, result: Any = VOID
    ) -> None:
        self.module, self.processor = module, processor
        self.function = ir.Function(module, ir.FunctionType(result, [INDEX] * arguments), name)
        self.builder = ir.IRBuilder(self.function.append_basic_block("entry"))
        self._entry = self.builder.block

    @property
    def arguments(self) -> list[Value]:
        """The function's arguments."""
        return [self.wrap(argument) for argument in self.function.args]

    def wrap(self, value: Any) -> Value:
        """Wrap an LLVM value for arithmetic."""
        return Value(self.builder, value)

    def constant(self, kind: Any, number: float | Sequence[float]) -> Value:
        """A constant: a number, one number in all lanes, or one number per lane."""
        if isinstance(kind, ir.VectorType):
            numbers = [number] * kind.count if isinstance(number, int | float) else number
            return self.wrap(ir.Constant(kind, [ir.Constant(kind.element, n) for n in numbers]))
        return self.wrap(ir.Constant(kind, number))

    def index(self, number: int) -> Value:
        """A 64-bit integer constant."""
        return self.constant(INDEX, number)

    def variable(self, initial: Value) -> Variable:
        """A variable with an initial value; allocated in the entry block, so once even inside loops."""
        kind = initial.ir.type
        with self.builder.goto_block(self._entry):
            place = self.builder.alloca(kind)
        changing = Variable(self.builder, place, kind)
        changing.value = initial
        return changing

    def load(self, address: Value, element: Any, lanes: int = 0, offset: int = 0, align: int = 1) -> Value:
        """Load a number, or a vector of `lanes`, from `offset` bytes after the address."""
        kind = vector(element, lanes) if lanes else element
        loaded = self.builder.load(self.pointer(address, offset), typ=kind)
        loaded.align = align
        return self.wrap(loaded)

    def store(self, value: Value, address: Value, offset: int = 0) -> None:
        """Store a number or vector."""
        self.builder.store(value.ir, self.pointer(address, offset), align=1)

    def pointer(self, address: Value, offset: int = 0) -> Any:
        """Convert an address to an LLVM pointer."""
        pointer = self.builder.inttoptr(address.ir, POINTER)
        if not offset:
            return pointer
        return self.builder.gep(pointer, [ir.Constant(INDEX, offset)], source_etype=BYTE)

    def prefetch(self, address: Value, offset: int) -> None:
        """Prefetch a cache line; the address need not be valid."""
        numbers = [ir.Constant(WORD, n) for n in (0, 3, 1)]
        self.call(
            "llvm.prefetch.p0", VOID, self.wrap(self.pointer(address, offset)), *map(self.wrap, numbers)
        )

    def call(self, name: str, result: Any, *arguments: Value) -> Value:
        """Call a function of this or another module, or an LLVM intrinsic."""
        function = self.module.globals.get(name)
        if function is None:
            kinds = [argument.ir.type for argument in arguments]
            function = ir.Function(self.module, ir.FunctionType(result, kinds), name)
        return self.wrap(self.builder.call(function, [argument.ir for argument in arguments]))

    def call_at(self, address: Value, result: Any, *arguments: Value) -> Value:
        """Call the function at an address."""
        kind = ir.FunctionType(result, [argument.ir.type for argument in arguments])
        typed = self.builder.inttoptr(address.ir, kind.as_pointer())
        return self.wrap(self.builder.call(typed, [argument.ir for argument in arguments]))

    def fma(self, left: Value, right: Value, addend: Value) -> Value:
        """left · right + addend, rounded once; a scalar factor is broadcast."""
        lanes = addend.lanes
        name = f"llvm.fma.{f'v{lanes}' if lanes else ''}f32"
        return self.call(name, addend.ir.type, left.spread(lanes), right.spread(lanes), addend)

    def zeros(self, lanes: int, element: Any = FLOAT) -> Value:
        """A vector of zeros."""
        return self.constant(vector(element, lanes), 0)

    def total(self, values: Value) -> Value:
        """Sum of all lanes, adding halves: in the same order on every processor."""
        while values.lanes > 1:
            middle = values.lanes // 2
            values = values[:middle] + values[middle:]
        return values[0]

    @contextmanager
    def loop(self, start: Value, stop: Value, step: int = 1) -> Iterator[Value]:
        """Emit a loop over start, start + step, … while less than `stop` (signed)."""
        builder, before = self.builder, self.builder.block
        head, body, after = (self.function.append_basic_block(name) for name in ("head", "body", "after"))
        builder.branch(head)
        builder.position_at_end(head)
        index = builder.phi(INDEX)
        index.add_incoming(start.ir, before)
        builder.cbranch(builder.icmp_signed("<", index, stop.ir), body, after)
        builder.position_at_end(body)
        yield self.wrap(index)
        following = builder.add(index, ir.Constant(INDEX, step))
        index.add_incoming(following, builder.block)
        builder.branch(head)
        builder.position_at_end(after)

    @contextmanager
    def when(self, condition: Value) -> Iterator[None]:
        """Emit code that runs only if the bit is set."""
        with self.builder.if_then(condition.ir):
            yield

    def less(self, left: Value, right: Value) -> Value:
        """Compare signed integers."""
        return self.wrap(self.builder.icmp_signed("<", left.ir, right.ir))

    def minimum(self, left: Value, right: Value) -> Value:
        """The smaller of two signed integers."""
        return self.less(left, right).choose(left, right)

    def ret(self, value: Value | None = None) -> None:
        """Return from the function."""
        if value is None:
            self.builder.ret_void()
        else:
            self.builder.ret(value.ir)
