"""Direct convolutions, without im2col, over images [N, C, H, W] of any strides; one-dimensional images have H = 1.

`by_pixels` has lanes over adjacent output pixels. In an image of row length L (padding included), output pixel (r, q) is pixel r * L + q,
and a tap of the window reads the same pixels at a constant offset in every row. Pixels between the ends of rows are computed and dropped.
For a stride above 1, the image is first split into one plane per remainder of row and column.

`by_filters` has lanes over filters: a tile multiplies a few windows at any addresses with a panel of weights, and its results are
transposed to planes. Strides and ends of rows have no overhead, but with few filters lanes are idle. The planner chooses a kernel by sizes.

Without padding (and, over pixels, without stride), the image is read in place. Otherwise it is copied with zeros as padding, so the order
of a sum does not depend on the position.
"""

from __future__ import annotations

from cervello.codegen.compiler import noinline
from cervello.codegen.memory import call_block, copy_bytes, read_i32, word, write_i32, write_i64
from cervello.codegen.records import reader
from cervello.native.kernels.filters import make_filter_tile, make_pixel_tile
from cervello.native.kernels.images import (
    fill_zeros,
    pad_pixels,
    planes,
    planes_from_pixels,
    prefetch_images,
    store_pixels,
    store_rows,
)
from cervello.native.kernels.schemas import BY_FILTERS, BY_PIXELS
from cervello.native.kernels.sizes import FILTERS, PANEL, PIXELS
from cervello.native.kernels.tiles import VECTORS
from cervello.native.kernels.transpose import transpose_16x16

_by_pixels, _by_filters = reader(BY_PIXELS), reader(BY_FILTERS)
WIDE = VECTORS > 1  # 32 registers of 16 lanes; otherwise 16 of 8
_TALL, _VECTORS = (8, 3) if WIDE else (4, 1)
# Thresholds instead of `WIDE and …`: numba fails on a variable whose definition it has pruned as dead.
_NEVER = 1 << 30
_TALL_ABOVE, _THREE_ABOVE, _TWO_ABOVE, _WIDE_ABOVE = (4, 32, 16, 16) if WIDE else (_NEVER, _NEVER, _NEVER, _NEVER)
_tall, _low = make_filter_tile(_TALL, _VECTORS), make_filter_tile(4, _VECTORS)
_tall_2, _low_2 = make_filter_tile(_TALL, min(2, _VECTORS)), make_filter_tile(4, min(2, _VECTORS))
_tall_1, _low_1 = make_filter_tile(_TALL, 1), make_filter_tile(4, 1)
_LONG = 8 if WIDE else 4
_single, _single_1 = make_filter_tile(1, _LONG), make_filter_tile(1, 1)
# Pixels per tile for 32 and for 16 filters. More would spill registers, because each pixel needs a broadcast value or an address.
_PIXELS, _PIXELS_HALF = (8, 8) if WIDE else (4, 4)
_many, _few = make_pixel_tile(_PIXELS, 2 if WIDE else 1), make_pixel_tile(4, 2 if WIDE else 1)
_many_half, _few_half = make_pixel_tile(_PIXELS_HALF, 1), make_pixel_tile(4, 1)
TAPS = 128  # terms per block: their weights and pixels stay in the L1 cache
_WINDOW_MULTIPLE = 8  # window addresses are padded to this multiple: the last tile reads one per row


@noinline
def _single_filter(w, x, offsets, k, bias, out, ldo, pixels):
    done = 0
    while pixels - done > 16 * (_LONG - 1):
        left = min(16 * _LONG, pixels - done)
        _single(w, x + done * 4, offsets, k, bias, out + done * 4, ldo, left)
        done += left
    while done < pixels:
        left = min(16, pixels - done)
        _single_1(w, x + done * 4, offsets, k, bias, out + done * 4, ldo, left)
        done += left
    return 0


@noinline
def _filters(w, filters, x, offsets, k, bias, out, ldo, pixels):
    """Up to 8 filters over all pixels; writes rows of `out` up to the next multiple of 4 filters."""
    if filters == 1:
        return _single_filter(w, x, offsets, k, bias, out, ldo, pixels)
    first = 0
    while first < filters:
        tall = filters - first > _TALL_ABOVE
        at, base, row = w + first * 4, bias + first * 4, out + first * ldo
        done = 0
        while done < pixels:
            left = pixels - done
            source, target = x + done * 4, row + done * 4
            if left > _THREE_ABOVE:
                left = min(48, left)
                if tall:
                    _tall(at, source, offsets, k, base, target, ldo, left)
                else:
                    _low(at, source, offsets, k, base, target, ldo, left)
            elif left > _TWO_ABOVE:
                left = min(32, left)
                if tall:
                    _tall_2(at, source, offsets, k, base, target, ldo, left)
                else:
                    _low_2(at, source, offsets, k, base, target, ldo, left)
            else:
                left = min(16, left)
                if tall:
                    _tall_1(at, source, offsets, k, base, target, ldo, left)
                else:
                    _low_1(at, source, offsets, k, base, target, ldo, left)
            done += left
        first += 8 if tall else 4
    return 0


def by_pixels(step, ctx):
    w = _by_pixels(step, ctx)
    x, y, copied, results, sh, sw, ph, pw = w.x, w.y, w.copied, w.results, w.sh, w.sw, w.ph, w.pw
    weights, bias, offsets, n_rows, groups, channels, filters = w.weights, w.bias, w.offsets, w.images, w.groups, w.channels, w.filters
    k, height, width, out_height, out_width, rows, columns = w.k, w.height, w.width, w.out_height, w.out_width, w.rows, w.columns
    (xn, xc, xh, xw), (yn, yc, yh, yw) = w.x_by, w.y_by
    in_place, direct, prefetches, activation, parameters = w.in_place, w.direct, w.prefetches, w.activation, w.parameters
    blocks = (filters + FILTERS - 1) // FILTERS
    pixels = (out_height - 1) * columns + out_width
    ldo = (pixels + 15) // 16 * 64
    by_pixel = in_place == 0 and xc == 4 and channels >= 4  # with fewer channels, a transpose has idle lanes
    if by_pixel:
        fill_zeros(copied, channels * sh * sw * rows * columns)
    for n in range(n_rows):
        for g in range(groups):
            image = x + n * xn + g * channels * xc
            if in_place == 0:
                if by_pixel:
                    planes_from_pixels(copied, image, channels, xh, xw, height, width, rows, columns, sh, sw, ph, pw)
                else:
                    planes(copied, image, channels, xc, xh, xw, height, width, rows, columns, sh, sw, ph, pw)
                image = copied
            for b in range(blocks):
                ahead = (n + 1) * blocks + b if prefetches != 0 else n_rows * blocks
                prefetch_images(x + g * channels * xc, xn, channels, xc, xh, xw, height, width, blocks, ahead,
                                min(ahead + 1, n_rows * blocks))
                count = min(FILTERS, filters - b * FILTERS)
                block, base = weights + (g * blocks + b) * k * FILTERS * 4, bias + (g * blocks + b) * FILTERS * 4
                to = y + n * yn + (g * filters + b * FILTERS) * yc
                if direct != 0 and (count == FILTERS or count == 4 or count == 1):
                    _filters(block, count, image, offsets, k, base, to, yc, pixels)
                    if activation != 0 and yc == pixels * 4:
                        call_block(activation, to, to, count * pixels, parameters)
                    elif activation != 0:
                        for f in range(count):
                            call_block(activation, to + f * yc, to + f * yc, pixels, parameters)
                else:
                    _filters(block, count, image, offsets, k, base, results, ldo, pixels)
                    for f in range(count if activation != 0 else 0):
                        call_block(activation, results + f * ldo, results + f * ldo, pixels, parameters)
                    if yc == 4 and count > 1:
                        store_pixels(to, results, ldo, columns, count, out_height, out_width, yh, yw)
                    else:
                        for f in range(count):
                            store_rows(to + f * yc, results + f * ldo, columns, out_height, out_width, yh, yw)
    return 0


@noinline
def _panels(windows, count, offsets, w, filters, k, bias, out, ldo):
    """Multiplies `count` windows with all filters; writes whole vectors of filters, and up to 3 rows of `out` after the last."""
    first = 0
    while first < filters:
        wide = filters - first > _WIDE_ABOVE
        start, start_stride = bias + first * 4, 0
        term = 0
        while term < k:
            terms = min(TAPS, k - term) if k - term >= 2 * TAPS else k - term
            panel, taps = w + (first // PANEL * k * PANEL + term * PANEL + first % PANEL) * 4, offsets + term * 8
            p = 0
            while p < count:
                at, row, begin = windows + p * 8, out + p * ldo + first * 4, start + p * start_stride
                few = count - p <= 4
                if wide and few:
                    _few(at, taps, panel, terms, begin, start_stride, row, ldo)
                elif wide:
                    _many(at, taps, panel, terms, begin, start_stride, row, ldo)
                elif few:
                    _few_half(at, taps, panel, terms, begin, start_stride, row, ldo)
                else:
                    _many_half(at, taps, panel, terms, begin, start_stride, row, ldo)
                p += 4 if few else _PIXELS if wide else _PIXELS_HALF
            start, start_stride = out + first * 4, ldo
            term += terms
        first += 32 if wide else 16
    return 0


@noinline
def _store_results(y, yc, yh, yw, results, ldo, first, count, filters, out_width):
    """Stores results [count, filters] of one image's pixels, from pixel `first` on, in the layout of y."""
    if yc == 4 and yw == ldo and ldo == filters * 4 and yh == out_width * ldo:  # same layout
        copy_bytes(y + first * ldo, results, count * ldo)
    elif yc == 4:  # adjacent channels
        r, q = first // out_width, first % out_width
        for p in range(count):
            copy_bytes(y + r * yh + q * yw, results + p * ldo, filters * 4)
            q += 1
            if q == out_width:
                r, q = r + 1, 0
    elif yw == 4 and yh == out_width * 4:  # adjacent pixels
        f = 0
        while f < filters:
            p = 0
            while p < count:
                transpose_16x16(results + p * ldo + f * 4, ldo, y + f * yc + (first + p) * 4, yc, min(16, count - p), min(16, filters - f))
                p += 16
            f += 16
    else:
        for p in range(count):
            pixel = first + p
            to = y + pixel // out_width * yh + pixel % out_width * yw
            for f in range(filters):
                write_i32(to + f * yc, 0, read_i32(results + p * ldo, f))
    return 0


@noinline
def _window_addresses(windows, count, image, xn, first, pixels, out_width, down, right):
    """Writes the addresses of the windows of `count` output pixels from `first` on; pixels are counted across images, `xn` bytes apart."""
    n, pixel = first // pixels, first % pixels
    r, q = pixel // out_width, pixel % out_width
    row = image + n * xn + r * down
    for p in range(count):
        write_i64(windows, p, row + q * right)
        q, pixel = q + 1, pixel + 1
        if pixel == pixels:
            n, pixel, q = n + 1, 0, 0
            row = image + n * xn
        elif q == out_width:
            q, row = 0, row + down
    padded = (count + _WINDOW_MULTIPLE - 1) // _WINDOW_MULTIPLE * _WINDOW_MULTIPLE
    for p in range(count, padded):  # unused rows of the last tile repeat the last window
        write_i64(windows, p, word(windows, count - 1))
    return 0


def by_filters(step, ctx):
    w = _by_filters(step, ctx)
    x, y, copied, results, windows, ph, pw, down, right = w.x, w.y, w.copied, w.results, w.windows, w.ph, w.pw, w.down, w.right
    weights, bias, offsets, n_rows, groups, channels, filters = w.weights, w.bias, w.offsets, w.images, w.groups, w.channels, w.filters
    k, height, width, out_height, out_width, rows, columns = w.k, w.height, w.width, w.out_height, w.out_width, w.rows, w.columns
    (xn, xc, xh, xw), (yn, yc, yh, yw) = w.x_by, w.y_by
    in_place, by_pixel, prefetches, activation, parameters = w.in_place, w.by_pixel, w.prefetches, w.activation, w.parameters
    panels = (filters + PANEL - 1) // PANEL
    ldo, pixels = (filters + 15) // 16 * 64, out_height * out_width
    # If the filters do not fill their vectors, results are not contiguous; the activation then runs after they are stored contiguously.
    activate_stored = activation != 0 and ldo != filters * 4 and yc == 4 and yw == filters * 4 and yh == out_width * yw
    images = n_rows if in_place != 0 else 1  # images per pass: a tile may span small images
    for g in range(groups):
        panel, base = weights + g * panels * k * PANEL * 4, bias + g * panels * PANEL * 4
        for n in range(0, n_rows, images):
            image, to = x + n * xn + g * channels * xc, y + n * yn + g * filters * yc
            if in_place == 0:
                if by_pixel != 0:
                    pad_pixels(copied, image, channels, xh, height, width, rows, columns, ph, pw)
                else:
                    planes(copied, image, channels, xc, xh, xw, height, width, rows, columns, 1, 1, ph, pw)
                image = copied
            first = 0
            while first < images * pixels:
                count = min(PIXELS, images * pixels - first)
                _window_addresses(windows, count, image, xn, first, pixels, out_width, down, right)
                ahead = n_rows * pixels
                if prefetches != 0:
                    ahead = n * pixels + first + (PIXELS if in_place != 0 else pixels)  # the next tiles, or the next copied image
                prefetch_images(x + g * channels * xc, xn, channels, xc, xh, xw, height, width, pixels, ahead,
                                min(ahead + count, n_rows * pixels))
                _panels(windows, count, offsets, panel, filters, k, base, results, ldo)
                if activation != 0 and ldo == filters * 4:
                    call_block(activation, results, results, count * filters, parameters)
                elif activation != 0 and not activate_stored:
                    for p in range(count):
                        call_block(activation, results + p * ldo, results + p * ldo, filters, parameters)
                done = 0
                while done < count:  # stores the pixels of each image separately
                    m, pixel = (first + done) // pixels, (first + done) % pixels
                    some = min(count - done, pixels - pixel)
                    _store_results(to + m * yn, yc, yh, yw, results + done * ldo, ldo, pixel, some, filters, out_width)
                    if activate_stored:
                        start = to + m * yn + pixel * filters * 4
                        call_block(activation, start, start, some * filters, parameters)
                    done += some
                first += count
    return 0
