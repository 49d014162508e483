"""What every figure's page must satisfy."""


def assert_apart(canvas, texts):
    """No text that is shown overlaps another, leaves the page or is smaller than 6.5 points."""
    texts = [text for text in texts if text.get_text()]
    boxes = [text.get_window_extent() for text in texts]
    for i, one in enumerate(boxes):
        assert canvas.bbox.x0 <= one.x0
        assert one.x1 <= canvas.bbox.x1
        assert canvas.bbox.y0 <= one.y0
        assert one.y1 <= canvas.bbox.y1
        assert [texts[j].get_text() for j, other in enumerate(boxes[:i]) if one.overlaps(other)] == []
        assert texts[i].get_fontsize() >= 6.5
