"""What looks like an image's name but is none is refused with the name that was probably meant."""

import pytest
import torch

from ace_model.lcu import FORGOTTEN, ConditionUnit, LCUError, LongContextUnit, check_placeholders, placeholder
from ace_model.text import clean

MISTYPED = {  # in a turn of three images: {image}, {image1}, {image2}
    "{imgae}": "{image}", "{iamge}": "{image}", "{imaeg}": "{image}", "{imag}": "{image}", "{imge}": "{image}",
    "{mage}": "{image}", "{immage}": "{image}", "{images}": "{image}", "{inage}": "{image}", "{Image}": "{image}",
    "{IMAGE}": "{image}", "{ image }": "{image}", "{img}": "{image}", "{IMG}": "{image}", "{pic}": "{image}",
    "{picture}": "{image}", "{image_0}": "{image}", "{image 1}": "{image1}", "{image_1}": "{image1}",
    "{image-1}": "{image1}", "{image#1}": "{image1}", "{image.1}": "{image1}", "{image[1]}": "{image1}",
    "{image01}": "{image1}", "{an image}": "{image}", "{previous.picture}": "{previous.image}",
    "{prev2.pic}": "{previous2.image}",
    "{img1}": "{image1}", "{Image2}": "{image2}", "{imgae2}": "{image2}", "{imgs2}": "{image2}", "{picture2}": "{image2}",
    "{Image9}": "{image2}", "{image1 }": "{image1}",
    "{previous}": "{previous.image}", "{prev}": "{previous.image}", "{previous.imgae}": "{previous.image}",
    "{prev.image}": "{previous.image}", "{Previous.Image}": "{previous.image}", "{previous image}": "{previous.image}",
    "{previous_image}": "{previous.image}", "{previousimage}": "{previous.image}", "{previous.img}": "{previous.image}",
    "{previous0.image}": "{previous.image}", "{previous01.image}": "{previous.image}", "{previos.image}": "{previous.image}",
    "{previous.image01}": "{previous.image1}", "{previous2}": "{previous2.image}", "{prev2.image1}": "{previous2.image1}",
    "{image,}": "{image}", "{image1:}": "{image1}",
    "{previous 2.image}": "{previous2.image}", "{previous2.Image 1}": "{previous2.image1}",
}
LEFT_ALONE = [
    "{}", "{ }", "{a}", "{1}", "{a|b}", "{image|photo}", "{a cat|a dog}", "{caption}", "{prompt}", "{style}", "{mask}", "{age}",
    "{name}", "{message}", "{damage}", "{manage}", "{village}", "{magic}", "{page}", "{stage}", "{preview}", "{prefix}",
    "{user.name}", "{an image of a cat}", "{imagination}", '{"image": 1}', "{'image': 'a.png'}", "{image: 1}",
    '{"a": {"image": "b"}}', "{{imgae}}", "{$image}", "{image, image1}", "{x, y}", "\\{}", "f(x) = {0, 1}", "{图片}", "{кот}",
    "image", "[image]", "(imgae)", "{imgae", "imgae}", "{ color: red; }", "{previous owner}", "{10 images",
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


@pytest.mark.parametrize("written", ["{image１}", "｛image1｝", "&#123;image1&#125;", "{im\0age1}", "{image1\n}",
                                     "&lbrace;image1}", "&amp;#123;image1}", "＆#123;image1}"])
def test_names_are_checked_as_the_model_reads_them(written):
    """What cleaning turns into a name is a name: valid with its picture, refused without."""
    text = f"{{image}} like {written}, only red"
    read = clean(text)
    assert ("{image1}" in read) != ("{image1 }" in read)
    if "{image1 }" in read:
        with pytest.raises(LCUError, match="did you mean {image1}"):
            ConditionUnit(text, [picture(), picture()])
        return
    frames = LongContextUnit().then(ConditionUnit(text, [picture(), picture()])).frames()
    assert frames[0].text == "{image} like {image1}, only red"
    with pytest.raises(LCUError, match="names {image1}, but nothing is connected to image1"):
        ConditionUnit(text, [picture()])


def test_a_long_number_is_refused_shortly():
    with pytest.raises(LCUError) as error:
        ConditionUnit("{Image" + "1" * 5000 + "}", [picture()])
    assert "did you mean {image}?" in str(error.value) and len(str(error.value)) < 300


def test_names_in_the_negative_instruction():
    """They are this turn's, as in the instruction."""
    first = LongContextUnit().then(ConditionUnit("{image}", [picture()]))
    lcu = first.then(ConditionUnit("{image} in {image1}", [picture()] * 2))
    read = [frame.negative_text for frame in lcu.frames("no {image1}")]
    assert read == ["no {image2}", "{image}", "{image1} in {image2}", "no {image2}"]
    for written, match in (("{image7}", "the negative instruction names {image7}, but nothing is connected to image7"),
                           ("{imgae}", "the negative instruction has {imgae}, which names no picture")):
        with pytest.raises(LCUError, match=match):
            lcu.frames(f"not like {written}")


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
    with pytest.raises(LCUError, match="raise max_rounds of ACE Long-context Unit from 0 to 1, or connect the picture itself"):
        history.then(named, max_rounds=0)  # history is connected
    with pytest.raises(LCUError, match=r"names \{previous3\.image\}, but the conversation has only 1 earlier turn"):
        history.then(ConditionUnit("{image} like {previous3.image}", [picture()]))


@pytest.mark.parametrize(("rounds", "pictures"), [(5, 1), (9, 1), (1, 1), (0, 1), (9, 3), (5, 4), (5, 8)])
def test_a_conversation_goes_on_for_ever(rounds, pictures):
    """Every turn names the one before it; the oldest turns go, and what they showed is no error of today's turn."""
    images = [picture() for _ in range(pictures)]
    lcu = LongContextUnit().then(ConditionUnit("{image} in red", images), rounds)
    reachable = rounds > 0 and 2 * pictures <= 9
    for turn in range(1, 30):
        lcu = lcu.then(ConditionUnit("{image} like {previous.image}" if reachable else "{image} in red", images), rounds)
        kept = min(turn, rounds, 9 // pictures - 1)
        assert (len(lcu.turns), lcu.forgotten) == (kept + 1, turn - kept)
        texts = [frame.text for frame in lcu.frames()]
        assert len(texts) == 1 + pictures * (kept + 1)
        if reachable and lcu.forgotten:
            assert texts[1] == f"{{image}} like {FORGOTTEN}", "the oldest turn named a picture that is gone"
            assert texts[0] == f"{placeholder(pictures * kept)} like {placeholder(pictures * (kept - 1))}"


def test_what_helps_where_a_forgotten_picture_is_named():
    """Remembering more helps only where rounds were the limit, not where nine pictures were."""
    history = LongContextUnit()
    for _ in range(2):
        history = history.then(ConditionUnit("{image}", [picture() for _ in range(4)]))
    for named, rounds, way in (("{previous2.image}", 1, "raise max_rounds of ACE Long-context Unit from 1 to 2, or connect"),
                               ("{previous.image}", 0, "raise max_rounds of ACE Long-context Unit from 0 to 1, or connect")):
        with pytest.raises(LCUError, match=way):
            history.then(ConditionUnit(f"{{image}} like {named}", [picture()]), rounds)
    with pytest.raises(LCUError, match="remembered: connect the picture itself and name it by its slot"):
        history.then(ConditionUnit("{image} like {previous2.image}", [picture(), picture()]), 5)
