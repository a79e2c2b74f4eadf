package android.text.style;

/** A stand-in for Android's class, so that the sample compiles. It does nothing. */
public class BackgroundColorSpan {
    public BackgroundColorSpan(int color) {}
}
