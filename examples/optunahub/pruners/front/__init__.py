from batchfront import FrontPruner, ProjectedPruner, ReportingTrial

__all__ = ["FrontPruner", "ProjectedPruner", "ReportingTrial"]
