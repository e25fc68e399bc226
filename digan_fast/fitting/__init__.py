"""Networks for given clips: found in a generator's latent space, or trained without a generator."""

from digan_fast.fitting.clips import GivenClip, read_clip
from digan_fast.fitting.fitting import FitConfig, fit
from digan_fast.fitting.projection import ProjectConfig, project
from digan_fast.fitting.quality import Quality, measure

__all__ = ["FitConfig", "GivenClip", "ProjectConfig", "Quality", "fit", "measure", "project", "read_clip"]
