"""codecrig: can this audio board keep the promises of a PortCls driver?"""

import importlib.metadata


def package_version() -> str:
    """Version of the installed package."""
    try:
        return importlib.metadata.version("codecrig")
    except importlib.metadata.PackageNotFoundError:
        return "not installed"
