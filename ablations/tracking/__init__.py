"""MLflow as a view of the ledger: runs, comparison tables and saved views, uploaded on demand."""

from ablations.tracking.mirror import OFF, UI_PORT, Mirror, choose_uri
from ablations.tracking.views import SavedView, list_views

__all__ = ["OFF", "UI_PORT", "Mirror", "SavedView", "choose_uri", "list_views"]
