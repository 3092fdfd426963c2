"""Pages of figures about trained models: each section a conclusion, its numbers, its figures."""

from lmjax.report.comparison import comparison
from lmjax.report.diagnosis import diagnose
from lmjax.report.page import Section, page, write
from lmjax.report.subject import Subject

__all__ = ["Section", "Subject", "comparison", "diagnose", "page", "write"]
