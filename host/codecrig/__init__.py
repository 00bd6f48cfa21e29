"""codecrig: can this audio board keep the promises of a PortCls driver?"""
