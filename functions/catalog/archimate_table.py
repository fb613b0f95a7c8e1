"""Which relationships ArchiMate 3.2 allows between two concepts, as a matrix of signs.

Source: ArchiMate 3.2 Specification, Appendix B (relationship tables), The Open Group; the form is our own.
A row is a source; its signs stand for the targets, in the order of the rows. CELLS says which relationships
a sign stands for, one letter each (LETTERS). `archimate.py` reads this; nothing is parsed at import.
"""

from typing import Final

LETTERS: Final = """
c=Composition g=Aggregation i=Assignment r=Realization v=Serving a=Access
n=Influence o=Association t=Triggering f=Flow s=Specialization
"""

CELLS: Final = """
.=o b=votf n=no r=ro c=rno d=rvotf a=ao e=irvotf *=cgirvanotfs f=cgro g=cgirvotf h=cgvotfs j=ivotf k=cgirvotfs
l=cgvotf m=cgnos o=cgrvanotfs p=cgrnos i=io q=iao s=girvotf t=cgrvotfs u=cgrvotf v=cgao w=cgos x=cgrno y=ino
z=rao A=cgo B=cgraos C=givotf D=otf E=cgivotf F=cgno -= G=cgrvnotfs H=cgotfs I=irno J=cgiao K=cgiraos L=irao
M=cgiotfs N=cgivotfs O=cgio P=cgros Q=grvotf R=gvotf S=iotf T=rotf U=cgiranotfs V=cgranotfs W=cganotfs
X=irvanotf Y=cgirvnotfs Z=cgrotfs 0=cgirno 1=cgirnos
"""

ROWS: Final = """
Stakeholder              mnnnnnnnnn................................................m.*.
Driver                   nmnnnnnnnn................................................m.*.
Assessment               nnmnnnnnnn................................................m.*.
Goal                     nnnmnnnnnn................................................m.*.
Outcome                  nnncmnnnnn................................................p.*.
Principle                nnnccmnnnn................................................p.*.
Requirement              nnncccmmnn................................................p.*.
Constraint               nnncccmmnn................................................p.*.
Meaning                  nnnnnnnnmn................................................m.*.
Value                    nnnnnnnnnm................................................m.*.
Resource                 nnncccccnnhjjd............................................Y.*.
Capability               nnncccccnnbhbd............................................G.*.
ValueStream              nnncccccnnbbhd............................................G.*.
CourseOfAction           nnncccccnnbbbh............................................G.*.
BusinessActor            ynncccccnnrrrrhjbEjjjjeaaabbbbbbbbbabbbbbbbbbbbbabbbai.i..*b*.
BusinessRole             ynncccccnnrrrrbhbljjjjeaaabbbbbbbbbabbbbbbbbbbbbabbbai.i..*b*.
BusinessCollaboration    ynncccccnnrrrrRChEjjjjeaaabbbbbbbbbabbbbbbbbbbbbabbbai.i..*b*.
BusinessInterface        nnncccccnnrrrrbbbhbbbbjaaabbbbbbbbbabbbbbbbbbbbbabbba.....*b*.
BusinessProcess          nnncccccnn.rrrbbbbhllbdaaabbbbbbbbbabbbbbbbbbbbbabbba.....ob*.
BusinessFunction         nnncccccnn.rrrbbbblhlbdaaabbbbbbbbbabbbbbbbbbbbbabbba.....ob*.
BusinessInteraction      nnncccccnn.rrrbbbbllhbdaaabbbbbbbbbabbbbbbbbbbbbabbba.....ob*.
BusinessEvent            nnncccccnn....bbbbbbbhbaaabbbbbbbbbabbbbbbbbbbbbabbba.....ob*.
BusinessService          nnncccccnn.rrrbbbbbbbbhaaabbbbbbbbbabbbbbbbbbbbbabbba.....ob*.
BusinessObject           nnncccccnnrrrr.........ww.................................p.*.
Contract                 nnncccccnnrrrr.........ww.................................p.*.
Representation           nnncccccnnrrrr.........rrw................................p.*.
Product                  nnncccccnnrrrrbbbddddduvvvhddddddduvbddbdbbdddduvdbbv.....ob*.
ApplicationComponent     nnncccccnnrrrrbbbddddddaaabtbueeeeeabbbbbbbbbbbbabbba.....*b*.
ApplicationCollaboration nnncccccnnrrrrbbbddddddaaabQhueeeeeabbbbbbbbbbbbabbba.....*b*.
ApplicationInterface     nnncccccnnrrrrbbbdbbbbdaaabbbhbbbbjabbbbbbbbbbbbabbba.....*b*.
ApplicationFunction      nnncccccnn.rrrbbbbdddbdaaabbbbhllbdabbbbbbbbbbbbabbba.....ob*.
ApplicationInteraction   nnncccccnn.rrrbbbbdddbdaaabbbblhlbdabbbbbbbbbbbbabbba.....ob*.
ApplicationProcess       nnncccccnn.rrrbbbbdddbdaaabbbbllhbdabbbbbbbbbbbbabbba.....ob*.
ApplicationEvent         nnncccccnn....bbbbbbbdbaaabbbbbbbhbabbbbbbbbbbbbabbba.....ob*.
ApplicationService       nnncccccnn.rrrbbbbbbbbdaaabbbbbbbbhabbbbbbbbbbbbabbba.....ob*.
DataObject               nnncccccnnrrrr.........rr..........w......................p.*.
Node                     ynncccccnnrrrrjjjeeeeeeaaabddddddddaNggbgbbeeeeeqgEbqi.i..*b*.
Device                   nnncccccnnrrrrbbbddddddaaabddddddddabhgbgbbeeeeeqbbba.....*b*.
SystemSoftware           nnncccccnnrrrrbbbddddddaaabddddddddabbkbgbbeeeeeqbbba.....*b*.
TechnologyCollaboration  ynncccccnnrrrrjjjeeeeeeaaabddddddddaCsshgbbeeeeeqsCbqi.i..*b*.
TechnologyInterface      nnncccccnnrrrrbbbdbbbbdaaabbbdbbbbdabbbbhbbbbbbjabbba.....*b*.
Path                     ynncccccnnrrrrjjjeeeeeeaaabddddddddaCssRshbeeeeeqsCbqi.i..*b*.
CommunicationNetwork     cnncccccnnrrrrdddddddddaaabddddddddadQsdsdheeeeeqddba.....*b*.
TechnologyFunction       nnncccccnn.rrrbbbbdddbdaaabbbbdddbdabbbbbbbhllbdabbba.....ob*.
TechnologyProcess        nnncccccnn.rrrbbbbdddbdaaabbbbdddbdabbbbbbblhlbdabbba.....ob*.
TechnologyInteraction    nnncccccnn.rrrbbbbdddbdaaabbbbdddbdabbbbbbbllhbdabbba.....ob*.
TechnologyEvent          nnncccccnn....bbbbbbbdbaaabbbbbbbdbabbbbbbbbbbhbabbba.....ob*.
TechnologyService        nnncccccnn.rrrbbbbbbbbdaaabbbbbbbbdabbbbbbbbbbbhabbba.....ob*.
Artifact                 nnncccccnnrrrr...rrrrrrrr..rrrrrrrrr..r.r..rrrrrP.........p.*.
Equipment                nnncccccnnrrrrbbbddddddaaabddddddddabugbgbbeeeeeqtbbq.....*b*.
Facility                 ynncccccnnrrrrjjjeeeeeeaaabddddddddaEggbgbbeeeeeqgNbqi.i..*b*.
DistributionNetwork      Inncccccnnrrrreeeeeeeeeaaabddddddddasssdsdbeeeeeqsshqi.i..*b*.
Material                 nnncccccnnrrrr...rrrrrrrr..rrrrrrrrr.rr.r..rrrrrrr..P.....p.*.
WorkPackage              cnncccccnnrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrHzDT.Vr*.
Deliverable              cnncccccnnrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrr.w.r.pr*.
ImplementationEvent      nnnnnnnnnn...........................................DaHD.W.*.
Plateau                  InnxxcxxnnfffffffffffffffffffffffffffffffffffffffffffDaDH.Uf*A
Gap                      .........................................................ww.*.
Grouping                 1mmpppppmmtkktkkkkkkkkkBBBttttkkkkkBkkktkttkkkkkKkktKMBMZw*t*A
Location                 0FFxxxxxFFffffgggggggggvvvluuugggggvgggugulgggggJgglJOAOAA*h*A
Junction                 InncccccnndeedeeeeeeeeezzzddddeeeeezeeededdeeeeeLeedLSzST.Xd*-
Relationship             ............................................................--
"""
