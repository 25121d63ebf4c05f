"""`te cache`: where compiled kernels are kept, how much that is, and how to be rid of them."""

from __future__ import annotations

from te.runtime.cache_folder import NoFolder, find_folder


def show_info() -> int:
    """Print the folder and what it holds; 1 where there is no cache, with the reason."""
    try:
        folder = find_folder()
    except NoFolder as problem:
        print(f"the cache is off: {problem}")
        return 1
    sizes = [size for _, size, _ in folder.entries()]
    print(f"folder   {folder.path}")
    print(f"kernels  {len(sizes)}, {_amount(sum(sizes))} of at most {_amount(folder.limit)}")
    return 0


def clear() -> int:
    """Remove every kernel; 1 where there is no cache, with the reason."""
    try:
        folder = find_folder()
    except NoFolder as problem:
        print(f"the cache is off: {problem}")
        return 1
    count, size = folder.clear()
    print(f"removed {count} kernels, {_amount(size)}, from {folder.path}")
    return 0


def _amount(size: int) -> str:
    """Bytes for people.

    >>> _amount(5 << 20)
    '5.0 MB'
    """
    return f"{size / (1 << 20):.1f} MB"
