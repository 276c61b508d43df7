r"""The VAE among its relatives: all trained small on the same data, and one picture."""

from .graphs import GRAPHS as GRAPHS
from .graphs import draw_graph as draw_graph
from .members import MEMBERS as MEMBERS
from .members import AsRelative as AsRelative
from .members import Member as Member
from .page import gallery_page as gallery_page
from .portrait import Floor as Floor
from .portrait import Portrait as Portrait
from .portrait import portraits as portraits
