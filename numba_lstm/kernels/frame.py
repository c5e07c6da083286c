"""The frame: all numbers that a launch needs to know, in one int64 array.

One array of numbers, because every argument of an entry takes time.  ``plan`` builds a `Frame`, and kernels read it as
a record.  Behind it in the array there is a `CellRecord` for each layer and direction, in torch's order, then the
numbers of a packed batch, and those of chosen rows.
"""
from __future__ import annotations

from typing import NamedTuple

from ..simd.records import record_of


class Frame(NamedTuple):
    """What a launch does.  Places are elements of the workspace where nothing else is said."""

    directions: int
    hidden_size: int
    output_size: int
    panels: int
    tail: int
    """Vectors of the last panel for every k."""
    proj_panels: int
    hidden_stride: int

    batch: int
    steps: int
    first_layer: int
    """What this launch does: layers, and steps in the order of processing."""
    end_layer: int
    first_step: int
    end_step: int
    chunk: int
    """Steps whose input part is computed at once."""
    span: int
    """Steps that go through one layer before the next one: all of a launch, if there are two directions."""
    streamed_ih: int
    """1 if the weights of the input do not stay in L2 from one chunk to the next."""
    streamed_steps: int
    """Steps of a chunk, from its first on, that do not find the weights of the state there."""
    pairs: int
    """1 if one row takes two panels side by side."""
    from_zero: int
    """1 if the first state is zero, and h and c are written only."""
    finite: int
    """1 if a zero state contributes exactly nothing."""
    turn: int
    """Parity of the first step: odd ones walk panels back."""

    pool: int
    """Rows of h and c for each layer and direction."""
    offsets: int
    """Where in the array the rows before each step of a packed batch stand, (steps + 1,); 0: none."""
    indices: int
    """Where in the array the row of h and c for each row of the batch stands, (batch,); 0: they are the same."""

    crew: int
    """Threads that share all rows, see ``crew``; 1: each has its slice of them."""
    apart: int
    """1 if each half of a crew of even size takes one of two directions."""
    crew_words: int
    """Where the words lie that threads share, and how many words they are."""
    crew_size: int
    patience: int
    """Pauses that the first of a crew waits for the others."""
    slices: int
    """Parts of the batch, one for a thread."""
    woken: int
    """Threads of Numba that a launch wakes.  It is the same for all launches where it can be: OpenMP ends threads that
    are left out, and makes new ones later."""
    rows: int
    """Most rows of a block: a slice is done in blocks, one after the other."""

    slice_size: int
    """Elements of workspace for a slice, and where its parts begin:"""
    hidden: int
    """(layers * directions, 2, rows, hidden_stride)"""
    cell: int
    """(layers * directions, panels, rows, LANES)"""
    unprojected: int
    """(rows, panels * LANES)"""
    gate_sums: int
    """(panels, chunk * rows, 4, LANES); where chunk is 1, (members of a crew, rows + 1, 4, LANES)"""
    direction_size: int
    """Elements between these two of one direction and of the other; 0: they take turns."""
    gate_member: int
    """Elements between the gate sums of two members of a crew; 0: each has its panels."""
    gate_distance: int
    """Elements between the gate sums of two panels, kept or not; 0: they take turns."""
    left: int
    """Copies of rows, where weights are int8, see ``left_rows``: (chunk, rows, left_stride) of the input, and .."""
    left_hidden: int
    """.. so many elements behind them (rows, left_stride) of h."""
    left_stride: int
    left_member: int
    """Elements between those of two members of a crew."""
    between: int
    """(2, steps, rows, D * H_out): what lies between layers, steps of a span if there is one direction; it is behind
    all slices where ``between_packed``."""
    between_size: int
    """Elements of one of its two halves."""
    between_packed: int
    """1 if its rows lie as those of the packed batch."""

    kept_address: int
    """Where gates are kept if they are, see ``kept``; elements between those of two directions, and behind the gates of
    one until its c."""
    kept_direction: int
    kept_cells: int

    run_share: int
    """The address of what ``share.share_of`` gives for these weights and cells."""
    weights_address: int = 0
    """For launches of a pool, whose arrays stay where they are."""
    work_address: int = 0
    h_address: int = 0
    c_address: int = 0
    array_type: int = 0
    """Their input and output: the addresses of the type and of the dtype."""
    array_dtype: int = 0
    axes: int = 2
    """How many axes they have, 2 or 3, and how long these are, the last one left out."""
    axis_0: int = 0
    axis_1: int = 0


class CellRecord(NamedTuple):
    """One layer and direction.  Places are elements of the packed weights."""

    src_size: int
    """Numbers in a row of the input."""
    bias: int
    weight_ih: int
    weight_hh: int
    zeros: int
    """A row of zeros, the "bias" of the projection."""
    weight_hr: int = 0
    numbers: int = 0
    """The numbers of a cell with a rule, see ``general_cell``."""
    code_f: int = 0
    """The three activations of such a cell, each a `Function`."""
    code_g: int = 0
    code_h: int = 0
    input_forget: int = 0
    """1: its forget gate is what the input gate leaves."""
    peepholes: int = 0
    """1: its gates look at the cell state."""


PLACES = Frame(*range(len(Frame._fields)))
"""Where in the array each number of the frame stands, for those that change from launch to launch."""

TURN = PLACES.turn
"""Looked up for every step of a stream."""

FRAME_SIZE, CELL_SIZE = len(Frame._fields), len(CellRecord._fields)

as_frame, as_cell = record_of(Frame), record_of(CellRecord)
"""What makes records of pointers, in kernels."""
