"""What works on the audit trail, put together once."""

from dataclasses import dataclass

from functions.audit.chain import Chain
from functions.audit.pruning import Needed, Pruner
from functions.audit.sealing import Sealer
from functions.audit.service import AuditService
from functions.audit.verifying import Verifier
from shared.core import Core
from shared.tenancy.signing import Signatures


@dataclass(frozen=True)
class Trail:
    """Reading, sealing, verifying, pruning, and the keys of all that."""

    entries: AuditService
    sealer: Sealer
    verifier: Verifier
    pruner: Pruner
    signatures: Signatures

    @classmethod
    def of(cls, core: Core, needed_since: Needed) -> "Trail":
        """`needed_since`: from when on a tenant's backups need its journal."""
        blobs, signatures = core.adapters.blobs, core.signatures
        chain = Chain(core.adapters.database.platform, signatures)
        return cls(
            AuditService(),
            Sealer(blobs, chain, signatures),
            Verifier(blobs, chain, signatures),
            Pruner(blobs, chain, signatures, needed_since),
            signatures,
        )
