package android.text;

/** A stand-in for Android's class, so that the sample compiles. It does nothing. */
public interface Spanned extends CharSequence {
    int SPAN_EXCLUSIVE_EXCLUSIVE = 33;
}
