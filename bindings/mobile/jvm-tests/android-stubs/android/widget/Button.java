package android.widget;

import android.content.Context;

/** A stand-in for Android's class, so that the sample compiles. It does nothing. */
public class Button extends TextView {
    public Button(Context context) {
        super(context);
    }
}
