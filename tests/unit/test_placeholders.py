"""What looks like an image's name but is none is refused with the name that was probably meant."""

import pytest
import torch

from ace_model.lcu import ConditionUnit, LCUError, LongContextUnit, check_placeholders, placeholder

MISTYPED = {  # in a turn of three images: {image}, {image1}, {image2}
    "{imgae}": "{image}", "{iamge}": "{image}", "{imaeg}": "{image}", "{imag}": "{image}", "{imge}": "{image}",
    "{mage}": "{image}", "{immage}": "{image}", "{images}": "{image}", "{inage}": "{image}", "{Image}": "{image}",
    "{IMAGE}": "{image}", "{ image }": "{image}", "{img}": "{image}", "{IMG}": "{image}", "{pic}": "{image}",
    "{picture}": "{image}", "{image_0}": "{image}", "{image 1}": "{image1}", "{image_1}": "{image1}",
    "{image-1}": "{image1}", "{image#1}": "{image1}", "{image.1}": "{image1}", "{image[1]}": "{image1}",
    "{image01}": "{image1}", "{an image}": "{image}", "{previous.picture}": "{previous.image}",
    "{prev2.pic}": "{previous2.image}",
    "{img1}": "{image1}", "{Image2}": "{image2}", "{imgae2}": "{image2}", "{imgs2}": "{image2}", "{picture2}": "{image2}",
    "{Image9}": "{image2}", "{image1\n}": "{image1}", "{image１}": "{image1}", "｛image1｝": "{image1}",
    "{previous}": "{previous.image}", "{prev}": "{previous.image}", "{previous.imgae}": "{previous.image}",
    "{prev.image}": "{previous.image}", "{Previous.Image}": "{previous.image}", "{previous image}": "{previous.image}",
    "{previous_image}": "{previous.image}", "{previousimage}": "{previous.image}", "{previous.img}": "{previous.image}",
    "{previous0.image}": "{previous.image}", "{previous01.image}": "{previous.image}", "{previos.image}": "{previous.image}",
    "{previous.image01}": "{previous.image1}", "{previous2}": "{previous2.image}", "{prev2.image1}": "{previous2.image1}",
    "{image,}": "{image}", "{image1:}": "{image1}", "{Image" + "1" * 5000 + "}": "{image2}",
    "{previous 2.image}": "{previous2.image}", "{previous2.Image 1}": "{previous2.image1}",
}
LEFT_ALONE = [
    "{}", "{ }", "{a}", "{1}", "{a|b}", "{image|photo}", "{a cat|a dog}", "{caption}", "{prompt}", "{style}", "{mask}", "{age}",
    "{name}", "{message}", "{damage}", "{manage}", "{village}", "{magic}", "{page}", "{stage}", "{preview}", "{prefix}",
    "{user.name}", "{an image of a cat}", "{imagination}", '{"image": 1}', "{'image': 'a.png'}", "{image: 1}",
    '{"a": {"image": "b"}}', "{{imgae}}", "{$image}", "{image, image1}", "{x, y}", "\\{}", "f(x) = {0, 1}", "{图片}", "{кот}",
    "image", "[image]", "(imgae)", "{imgae", "imgae}", "{\n  color: red;\n}", "{previous owner}", "{10 images",
]
NAMES = ["{image}", "{image0}", "{image1}", "{image2}", "{previous.image}", "{previous1.image}", "{previous2.image1}",
         "{previous10.image}"]


def picture():
    return torch.rand(32, 48, 3)


@pytest.mark.parametrize("written", MISTYPED)
def test_mistyped_names_are_caught(written):
    with pytest.raises(LCUError) as error:
        ConditionUnit(f"{{image}} like {written}, only red", [picture() for _ in range(3)])
    message = str(error.value)
    assert f"the instruction has {written}," in message
    assert f"did you mean {MISTYPED[written]}?" in message
    assert "This turn has {image}, {image1}, {image2};" in message


@pytest.mark.parametrize("text", [*LEFT_ALONE, *NAMES])
def test_other_braces_are_left_alone(text):
    assert ConditionUnit(f"{{image}} {text}", [picture() for _ in range(3)]).instruction == f"{{image}} {text}"


def test_the_tables_are_large_enough():
    assert len(MISTYPED) >= 30 and len(LEFT_ALONE) >= 30


@pytest.mark.parametrize(("images", "meant", "has"), [
    (0, "{image4}", "no image"), (1, "{image}", "{image}"), (2, "{image1}", "{image}, {image1}"), (5, "{image4}", "{image4}"),
])
def test_the_name_that_this_turn_has(images, meant, has):
    with pytest.raises(LCUError) as error:
        check_placeholders("make {Image 4} red", images, "the negative instruction")
    assert f"the negative instruction has {{Image 4}}, which names no picture: did you mean {meant}?" in str(error.value)
    assert f"{has}; an earlier turn's picture is {{previous.image}}" in str(error.value)


def test_every_name_of_a_full_turn_is_one():
    check_placeholders(" ".join(placeholder(i) for i in range(9)), 9)


def test_an_earlier_picture_without_history_says_what_to_connect():
    alone = ConditionUnit("{image} like {previous.image}", [picture()])
    with pytest.raises(LCUError, match=r"names \{previous\.image\}, but there is no earlier turn: connect history of ACE "
                                       r"Long-context Unit"):
        LongContextUnit().then(alone)
    history = LongContextUnit().then(ConditionUnit("{image}", [picture()]))
    assert history.then(alone).instructions()[-1] == "{image1} like {image}"


def test_an_earlier_picture_that_was_forgotten_or_never_there():
    history = LongContextUnit().then(ConditionUnit("{image}", [picture()]))
    named = ConditionUnit("{image} like {previous.image}", [picture()])
    with pytest.raises(LCUError, match="raise max_rounds"):
        history.then(named, max_rounds=0)  # history is connected
    with pytest.raises(LCUError, match="raise max_rounds"):
        history.then(named).then(ConditionUnit("{image}", [picture()]), max_rounds=1)  # the second turn's picture is forgotten
    with pytest.raises(LCUError, match=r"names \{previous3\.image\}, but the conversation has only 1 earlier turn"):
        history.then(ConditionUnit("{image} like {previous3.image}", [picture()]))
