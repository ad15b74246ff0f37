"""What core registers itself, by the same door as anybody's plugin."""

from __future__ import annotations

from bioviz_core.hooks import hookimpl
from bioviz_core.registry import Registrar


@hookimpl
def bioviz_register(registry: Registrar) -> None:
    """Declare core's rules, models, stimuli and analyses."""
    registry.rule(
        "backprop-torch",
        "bioviz_core.bridge.torch:Backprop",
        summary="Gradient descent on the model's objective, by autograd",
        framework="torch",
    )
    registry.rule(
        "backprop-jax",
        "bioviz_core.bridge.jax:Backprop",
        summary="Gradient descent on the model's objective, by an optax optimiser",
        framework="jax",
    )
    registry.rule(
        "local",
        "bioviz_core.bridge.local:Local",
        summary="Any local rule, at every synapse of a model that shows them",
    )
    for name, place, summary in (
        ("digits", "embedded:digits", "Real handwritten digits, 8 x 8, from scikit-learn"),
        ("photographs", "embedded:photographs", "Photographs that come with scikit-image"),
        ("mnist", "archives:mnist", "Handwritten digits, 28 x 28, from BIOVIZ_DATA"),
        ("fashion-mnist", "archives:fashion_mnist", "Clothes, 28 x 28, from BIOVIZ_DATA"),
        ("cifar10", "archives:cifar10", "Objects of ten classes, 32 x 32, from BIOVIZ_DATA"),
        ("ecssd", "archives:ecssd", "Scenes with an object's mask, from BIOVIZ_DATA"),
        ("oxford-pets", "archives:oxford_pets", "Cats and dogs with masks, from BIOVIZ_DATA"),
        ("bsds", "archives:bsds", "Natural scenes with human contours, from BIOVIZ_DATA"),
        ("gratings", "gratings:gratings", "Gratings by orientation, phase and contrast"),
        ("glyphs", "glyphs:glyphs", "Procedural digits, tilted, sized and moved"),
        ("multi-glyphs", "glyphs:multi_glyphs", "Two procedural digits, one of them asked for"),
        ("textured-figures", "figures:textured_figures", "Textured shapes with exact masks"),
        ("schematic-faces", "faces:schematic_faces", "Faces with six attributes and their masks"),
        ("folder", "folders:folder", "Images from a folder, with masks where there are some"),
    ):
        registry.stimulus(name, f"bioviz_core.stimuli.{place}", summary=summary)
    for name, place, summary in (
        ("rdm", "similarity:RDM", "Dissimilarity of the patterns that samples evoke"),
        ("rsa", "similarity:RSA", "Correlation of two layers' dissimilarity matrices"),
        ("cka", "similarity:CKA", "Linear centred kernel alignment, debiased"),
        ("procrustes", "similarity:Procrustes", "Angle of two layers after the best rotation"),
        ("orientation-tuning", "tuning:OrientationTuning", "Orientation and direction tuning"),
        ("class-selectivity", "tuning:ClassSelectivity", "How far units prefer one class"),
        ("linear-readout", "readout:LinearReadout", "Accuracy of a linear decoder of labels"),
        ("population", "population:Population", "Sparseness, dimensionality, mean response"),
    ):
        registry.analysis(name, f"bioviz_core.analyses.{place}", summary=summary)
