"""The frame: all numbers that a launch needs to know, in one int64 array.

One array of numbers, because every argument of an entry costs 0.07 us, and one with named fields twice that.  ``plan``
fills it in, ``time_loop`` reads it; here is what stands where.
"""
from __future__ import annotations

(
    DIRECTIONS,
    HIDDEN_SIZE,
    OUTPUT_SIZE,
    PANELS,
    TAIL,  # vectors of the last panel for every k
    PROJ_PANELS,
    HIDDEN_STRIDE,
    BATCH,
    STEPS,
    CHUNK,  # steps whose input part is computed at once
    SPAN,  # steps that go through one layer before the next one: all of a launch, if there are two directions
    STREAMED_IH,  # 1 if the weights of the input do not stay in L2 from one chunk to the next
    STREAMED_STEPS,  # steps of a chunk, from its first on, that do not find those of the state there
    PAIRS,  # 1 if one row takes two panels side by side
    FROM_ZERO,  # 1 if the first state is zero, and h and c are written only
    FINITE,  # 1 if a zero state contributes exactly nothing
    TURN,  # parity of the first step: odd ones walk panels back
    POOL,  # rows of h and c for each layer and direction
    OFFSETS,  # where in the frame the rows before each step of a packed batch stand, (steps + 1,); 0: none
    INDICES,  # where in the frame the row of h and c for each row of the batch stands, (batch,); 0: they are the same
    CREW,  # threads that share all rows, see ``crew``; 1: each has its slice of them
    APART,  # 1 if each half of a crew of even size takes one of two directions
    CREW_WORDS,  # where in the workspace the words lie that threads share, in elements, and how many words they are
    CREW_SIZE,
    PATIENCE,  # pauses that the first of a crew waits for the others
    SLICES,  # of the batch, one for a thread
    ROWS,  # most rows of a block: a slice is done in blocks, one after the other
    SLICE_SIZE,  # elements of workspace for a slice, and where its parts begin:
    HIDDEN,  # (layers * directions, 2, rows, hidden_stride)
    CELL,  # (layers * directions, panels, rows, LANES)
    UNPROJECTED,  # (rows, panels * LANES)
    DIRECTION_SIZE,  # elements between these two of one direction and of the other; 0: they take turns
    GATE_SUMS,  # (panels, chunk * rows, 4, LANES); where chunk is 1, (members of a crew, rows + 1, 4, LANES)
    GATE_MEMBER,  # elements between the gate sums of two members of a crew; 0: each has its panels
    GATE_DISTANCE,  # elements between the gate sums of two panels; 0: they take turns
    BETWEEN,  # (2, steps, rows, D * H_out): what lies between layers, steps of a span if there is one direction; it is
    # behind all slices where BETWEEN_PACKED
    BETWEEN_SIZE,  # elements of one of its two halves
    BETWEEN_PACKED,  # 1 if its rows lie as those of the packed batch
    FIRST_LAYER,  # what this launch does: layers, and steps in the order of processing
    END_LAYER,
    FIRST_STEP,
    END_STEP,
    RUN_SHARE,  # the address of ``time_loop.run_share`` for this dtype
    WEIGHTS_ADDRESS,  # for ``run_short``, whose arrays stay where they are
    WORK_ADDRESS,
    H_ADDRESS,
    C_ADDRESS,
    CELLS,  # a record for every layer and direction, see below
) = range(48)
"""The entries, CELLS the last.  OFFSETS and INDICES follow the records."""

(
    SRC_SIZE,  # numbers in a row of the input
    BIAS,  # offsets into the packed weights, in elements
    WEIGHT_IH,
    WEIGHT_HH,
    WEIGHT_HR,
    ZEROS,  # a row of zeros, the "bias" of the projection
    NUMBERS,  # of a general cell, see ``general_cell``
    CODE_F,  # its activations
    CODE_G,
    CODE_H,
    INPUT_FORGET,  # 1: its forget gate is what the input gate leaves
    PEEPHOLES,  # 1: its gates look at the cell state
    CELL_SIZE,
) = range(13)
"""The entries of a record for one layer and direction.  CELL_SIZE is their number."""
