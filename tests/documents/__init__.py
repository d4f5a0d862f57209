"""Makers of documents whose text is known, for every suite that needs one."""
