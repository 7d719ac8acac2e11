"""Control-free COBS on preallocated buffers, compiled to machine code where MicroPython can.

The one module that holds viper functions; shipped as source, because compiled viper fits one architecture only. CPython runs
the same lines as plain Python. The encoding is described in docs/protocol.md.
"""

try:
    import micropython
except ImportError:

    class micropython:  # the name is the decorator's, MicroPython's compiler looks for it
        """Stands in for the interpreter's module on CPython."""

        @staticmethod
        def viper(function):
            """Return the function as it is."""
            return function

    def ptr8(buffer):
        """Return the buffer: viper's pointers index like one."""
        return buffer


@micropython.viper
def stuff_into(source, count: int, target, at: int) -> int:
    """Encode `count` bytes of `source` into `target` from `at` on; return the end. Room: count + 1 + count // 50."""
    src = ptr8(source)
    dst = ptr8(target)
    code_at = int(at)
    end = code_at + 1
    run = 0
    n = 0
    while n < int(count):
        byte = int(src[n])
        if byte > 4:
            dst[end] = byte
            end += 1
            run += 1
            if run == 50:
                dst[code_at] = 255
                code_at = end
                end += 1
                run = 0
        else:
            dst[code_at] = 5 + 5 * run + byte
            code_at = end
            end += 1
            run = 0
        n += 1
    dst[code_at] = 5 + 5 * run
    return end


@micropython.viper
def unstuff(buffer, count: int) -> int:
    """Decode `count` bytes in place; return the length, or -1 for what no encoder makes."""
    buf = ptr8(buffer)
    at = 0
    end = 0
    value = -1
    while at < int(count):
        code = int(buf[at])
        at += 1
        if code < 5:
            return -1
        if code == 255:
            run = 50
            value = -1
        else:
            run = (code - 5) // 5
            value = (code - 5) % 5
        if at + run > int(count):
            return -1
        while run > 0:
            byte = int(buf[at])
            if byte < 5:
                return -1
            buf[end] = byte
            at += 1
            end += 1
            run -= 1
        if value >= 0:
            buf[end] = value
            end += 1
    if value != 0:
        return -1
    return end - 1
