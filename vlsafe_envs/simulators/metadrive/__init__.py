"""MetaDrive's procedural maps behind our interfaces.

Nothing here imports MetaDrive before an environment is reset, so the package can be imported where
MetaDrive is not installed.
"""

from vlsafe_envs.simulators.metadrive.scenario import MAPS, MetaDriveTraffic
from vlsafe_envs.simulators.metadrive.world import MetaDriveWorld

__all__ = ["MAPS", "MetaDriveTraffic", "MetaDriveWorld"]
